import { describe, expect, it } from 'vitest'

import { scoreLogits } from './score.js'

const pyramid = [1, 2]
const codes = 4
const everywhere = () => true

/** Logits of five positions, all the same row. */
const repeated = (row: readonly number[]) =>
  Float32Array.from({ length: 5 * codes }, (_, i) => row[i % codes]!)

describe('scoreLogits', () => {
  it('is log V where every code is equally likely, and takes the first code of equals for the best', () => {
    const score = scoreLogits(repeated([0, 0, 0, 0]), Int32Array.of(0, 0, 1, 2, 0), pyramid, everywhere)
    expect(score.loss[0]).toBeCloseTo(Math.log(4), 12)
    expect(score.loss[1]).toBeCloseTo(Math.log(4), 12)
    expect(score.accuracy).toEqual([1, 0.5])
    expect(score.positions).toEqual([1, 4])
    expect(score.meanAccuracy).toBeCloseTo(3 / 5)
  })

  it('is the cross-entropy by definition', () => {
    const row = [1, -1, 0.5, 2]
    const sum = row.reduce((all, logit) => all + Math.exp(logit), 0)
    const tokens = Int32Array.of(3, 0, 1, 2, 3)
    const { loss, meanLoss } = scoreLogits(repeated(row), tokens, pyramid, everywhere)
    const losses = [...tokens].map((token) => -Math.log(Math.exp(row[token]!) / sum))
    expect(loss[0]).toBeCloseTo(losses[0]!, 6)
    expect(loss[1]).toBeCloseTo(losses.slice(1).reduce((a, b) => a + b) / 4, 6)
    expect(meanLoss).toBeCloseTo(losses.reduce((a, b) => a + b) / 5, 6)
  })

  it('survives logits whose exponentials do not exist', () => {
    const { loss } = scoreLogits(
      repeated([1000, 1000, -1000, 0]),
      Int32Array.of(0, 1, 1, 0, 0),
      pyramid,
      everywhere,
    )
    expect(loss[0]).toBeCloseTo(Math.log(2), 6)
  })

  it('counts only the predicted positions', () => {
    const logits = repeated([0, 0, 0, 9]).fill(Number.NaN, 0, codes)
    const score = scoreLogits(
      logits,
      Int32Array.of(0, 3, 1, 3, 0),
      pyramid,
      (position) => position === 1 || position === 4,
    )
    expect(score.positions).toEqual([0, 2])
    expect(score.loss[0]).toBeNaN()
    expect(score.accuracy[1]).toBe(0.5)
    expect(score.meanLoss).toBe(score.loss[1])
  })
})
