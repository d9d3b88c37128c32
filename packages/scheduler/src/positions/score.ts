import { HmarError, type PositionOrder } from '@hmar/core'
import { philox } from '../philox.js'
import { logarithm } from '../portable-math.js'
import type { PassState, ScorePositions } from './pass-state.js'

const positionNoise = 1

/**
 * The scores by which one of the built-in orders chooses positions, as the engine computes them: what a function of the
 * caller's own starts from to change it.
 *
 * @param order - All but `custom`.
 * @returns `[p²]`; the highest are committed first.
 */
export function scorePositions(
  order: Exclude<PositionOrder, { kind: 'custom' }>,
  state: Pick<PassState, 'confidence' | 'seed' | 'image' | 'index'>,
): Float32Array {
  const { confidence, seed, image, index } = state
  const noise = (position: number) => philox({ seed, position, pass: index, image, purpose: positionNoise })
  switch (order.kind) {
    case 'least-confident':
      return confidence.slice()
    case 'gumbel':
      return confidence.map((probability, position) => {
        const gumbel = -logarithm(-logarithm((noise(position) + 0.5) * 2 ** -32))
        const certainty = probability === 0 ? Number.NEGATIVE_INFINITY : logarithm(probability)
        return Math.fround(order.temperature * gumbel) + certainty
      })
    case 'random':
      return confidence.map((_, position) => (noise(position) >>> 8) * 2 ** -24)
    case 'order': {
      const scores = new Float32Array(confidence.length)
      for (const [rank, position] of order.order.entries()) scores[position] = -rank
      return scores
    }
  }
}

/**
 * Which positions are open after a pass, by scores: of those open in it, the ones of the lowest scores are left, the lower
 * position among equal ones (§4).
 *
 * @returns `[p²]`, 1 where a position is open.
 * @throws {HmarError} `SCHEDULE_INVALID` for scores that are not one number a position.
 */
export function openAfter(
  { pass, index, open }: Pick<PassState, 'pass' | 'index' | 'open'>,
  left: number,
  scores: ReturnType<ScorePositions>,
): Uint8Array {
  const candidates = [...open.keys()].filter((position) => open[position] !== 0)
  const fault = candidates.findIndex((position) => !(Number(scores[position]) === scores[position]))
  if (fault >= 0 || scores.length !== open.length)
    throw new HmarError('SCHEDULE_INVALID', `The scores of positions after pass ${index} are not usable.`, {
      found:
        scores.length === open.length
          ? `${scores[candidates[fault] as number]} at position ${candidates[fault]}`
          : `${scores.length} numbers`,
      expected: `a number for each of ${pass.side} × ${pass.side} positions`,
    })
  const ranked = candidates.sort((a, b) => {
    const [first, second] = [scores[a] as number, scores[b] as number]
    return first === second ? a - b : first < second ? -1 : 1
  })
  const result = new Uint8Array(open.length)
  for (const position of ranked.slice(0, left)) result[position] = 1
  return result
}
