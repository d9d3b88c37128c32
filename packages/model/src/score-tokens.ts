import type { TokenMaps } from '@hmar/core'

/** How well logits foresee the tokens of one scale. */
export interface ScaleScore {
  /** p_k: the scale has p_k² tokens. */
  readonly side: number
  /** Mean cross-entropy of its tokens, in nats. */
  readonly loss: number
  /** The share of its tokens that have the largest logit. */
  readonly accuracy: number
}

/**
 * Holds teacher-forced logits against the tokens they should foresee.
 *
 * @param logits - `[N, V]`, as {@link HmarModel.logits} gives them for the next-scale pass
 * @returns one score a scale, coarse to fine
 */
export function scoreTokens(logits: Float32Array, { scales }: TokenMaps): ScaleScore[] {
  const positions = scales.reduce((sum, tokens) => sum + tokens.length, 0)
  const codes = logits.length / positions
  let position = 0
  return scales.map((tokens) => {
    let loss = 0
    let correct = 0
    for (const token of tokens) {
      const row = logits.subarray(position * codes, ++position * codes)
      const largest = row.reduce((a, b) => Math.max(a, b))
      const total = row.reduce((sum, logit) => sum + Math.exp(logit - largest), 0)
      const logit = row[token] as number
      loss += Math.log(total) + largest - logit
      if (logit === largest) correct++
    }
    return { side: Math.sqrt(tokens.length), loss: loss / tokens.length, accuracy: correct / tokens.length }
  })
}
