import type { Score } from '@hmar/model'

/** The scores of some pictures, put together. */
export interface ScoreSummary {
  readonly pictures: number
  /** Mean cross-entropy in nats, for each scale. */
  readonly loss: readonly number[]
  /** Share of tokens that had the largest logit, for each scale. */
  readonly accuracy: readonly number[]
  /** Over the tokens of all scales. */
  readonly meanLoss: number
  readonly meanAccuracy: number
}

/** @param scores - of one picture each; at least one */
export function summarizeScores(scores: readonly Score[]): ScoreSummary {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const over = (field: 'loss' | 'accuracy') =>
    (scores[0] as Score)[field].map((_, scale) => mean(scores.map((score) => score[field][scale] as number)))
  return {
    pictures: scores.length,
    loss: over('loss'),
    accuracy: over('accuracy'),
    meanLoss: mean(scores.map(({ meanLoss }) => meanLoss)),
    meanAccuracy: mean(scores.map(({ meanAccuracy }) => meanAccuracy)),
  }
}
