import { type Pyramid, pyramidTokens } from '@hmar/core'

/** How well a model predicts given tokens, teacher-forced. A scale without predicted positions has NaN. */
export interface Score {
  /** Mean cross-entropy in nats, for each scale. */
  readonly loss: readonly number[]
  /** Share of positions whose most likely token is the given one, for each scale. */
  readonly accuracy: readonly number[]
  /** Predicted positions, for each scale. */
  readonly positions: readonly number[]
  /** Mean cross-entropy over all predicted positions. */
  readonly meanLoss: number
  /** Share of all predicted positions. */
  readonly meanAccuracy: number
}

/**
 * Scores logits against the tokens they predict.
 *
 * @param logits - `[N, V]`
 * @param tokens - `[N]`
 * @param predicts - whether a position counts
 */
export function scoreLogits(
  logits: Float32Array,
  tokens: Int32Array,
  pyramid: Pyramid,
  predicts: (position: number) => boolean,
): Score {
  const codes = logits.length / pyramidTokens(pyramid)
  const sums = pyramid.map(() => ({ loss: 0, hits: 0, positions: 0 }))
  let position = 0
  for (const [scale, side] of pyramid.entries()) {
    const sum = sums[scale]!
    for (const end = position + side * side; position < end; position++) {
      if (!predicts(position)) continue
      const row = logits.subarray(position * codes, (position + 1) * codes)
      const { best, logSumExp } = summarise(row)
      const token = tokens[position]!
      sum.loss += logSumExp - row[token]!
      sum.hits += best === token ? 1 : 0
      sum.positions++
    }
  }
  const total = (key: keyof (typeof sums)[number]) => sums.reduce((all, sum) => all + sum[key], 0)
  return {
    loss: sums.map((sum) => sum.loss / sum.positions),
    accuracy: sums.map((sum) => sum.hits / sum.positions),
    positions: sums.map((sum) => sum.positions),
    meanLoss: total('loss') / total('positions'),
    meanAccuracy: total('hits') / total('positions'),
  }
}

/** The largest logit's index, the lowest of equals, and log Σ exp, which its largest term keeps from overflowing. */
function summarise(row: Float32Array): { best: number; logSumExp: number } {
  let best = 0
  for (let code = 1; code < row.length; code++) if (row[code]! > row[best]!) best = code
  const largest = row[best]!
  let sum = 0
  for (const logit of row) sum += Math.exp(logit - largest)
  return { best, logSumExp: largest + Math.log(sum) }
}
