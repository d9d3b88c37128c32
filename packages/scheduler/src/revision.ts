import { z } from 'zod'
import { invalid } from './invalid.js'

/**
 * Tokens of one scale that are opened again though they were committed: those of least confidence (Token-Critic, ReMDM).
 * The pass that opens them commits as many more, so that the scale's other counts stay as they are.
 *
 * A list says how many before each masked pass; beyond the scale's masked passes, every number adds one that does nothing
 * else. `{ share }` opens that share of what is committed, rounded down, before each masked pass.
 */
export const Revision = z.union([
  z.array(z.int().min(0)).readonly(),
  z.strictObject({ share: z.number().min(0).max(1) }).readonly(),
])
/** Tokens of one scale that are opened again though they were committed. */
export type Revision = z.infer<typeof Revision>

/** What a pass does to the tokens of its scale. */
export interface Counts {
  /** Tokens that were committed and are open again before the pass. */
  readonly revises: number
  /** Tokens that the pass commits, revised ones included. */
  readonly commits: number
}

/**
 * The passes over a scale.
 *
 * @param commits - What each would commit without revision.
 * @param scale - From 1, for the message.
 * @throws {HmarError} `SCHEDULE_INVALID`, naming the scale.
 */
export function revised(commits: readonly number[], revision: Revision, scale: number): Counts[] {
  let committed = 0
  const count = Math.max(commits.length, 'share' in revision ? 0 : revision.length + 1)
  return Array.from({ length: count }, (_, step) => {
    const revises =
      step === 0 ? 0 : 'share' in revision ? shareOf(revision.share, committed) : (revision[step - 1] ?? 0)
    const wanted = commits[step] ?? 0
    if (revises > committed || wanted + revises === 0)
      throw invalid(`masked pass ${step} of scale ${scale} revises ${revises} tokens`, {
        expected: `${wanted === 0 ? 'from 1 to' : 'at most'} ${committed}, which are committed before it`,
      })
    committed += wanted
    return { revises, commits: wanted + revises }
  })
}

// The slack undoes rounding: 0.1 of 30 is 3.
const shareOf = (share: number, tokens: number) => Math.min(tokens, Math.floor(share * tokens + 1e-9))
