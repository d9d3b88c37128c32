import { z } from 'zod'
import { Curve, curveCommits } from './curve.js'
import { invalid } from './invalid.js'

/**
 * The passes over one scale: how many tokens each commits, the next-scale pass first and then the masked ones, as a
 * list that sums to p² or as a {@link Curve}. `[p²]` means no masked pass.
 */
export const Refinement = z.union([z.array(z.number()).readonly(), Curve.readonly()])
/** The passes over one scale: a list of tokens committed, or a {@link Curve}. */
export type Refinement = z.infer<typeof Refinement>

/**
 * The tokens that each pass over a scale commits.
 *
 * @param scale - From 1, for the message.
 * @param side - p_k.
 * @throws {HmarError} `SCHEDULE_INVALID`, naming the scale and both numbers.
 */
export function commitsOf(refinement: Refinement, scale: number, side: number): readonly number[] {
  const tokens = side * side
  if ('curve' in refinement) {
    if (refinement.steps > tokens)
      throw invalid(`scale ${scale} is refined in ${refinement.steps} steps but has ${tokens} tokens`, {
        expected: 'at least one token a step',
      })
    return curveCommits(refinement, tokens)
  }
  for (const count of refinement)
    if (!Number.isInteger(count) || count < 1)
      throw invalid(`scale ${scale} has a pass that commits ${count} tokens`, {
        expected: 'a whole number of tokens, at least 1',
      })
  const committed = refinement.reduce((sum, count) => sum + count, 0)
  if (committed !== tokens)
    throw invalid(`scale ${scale} commits ${committed} tokens but has ${tokens}`, {
      found: `[${refinement.join(', ')}]`,
      expected: `numbers that sum to ${side} × ${side} = ${tokens}`,
    })
  return refinement
}
