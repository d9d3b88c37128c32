import { unflattenTokens } from '@hmar/core'
import { largestDifference, readGoldens, rows } from '@hmar/native/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { HmarModel } from './model.js'
import type { Score } from './score.js'

const golden = readGoldens('tiny-a')
const labels = golden.integers('labels').data
const maskedPositions = golden.integers('masked_positions').data

describe('the trained model', () => {
  let model: HmarModel
  beforeAll(async () => {
    model = await HmarModel.load({ path: 'shapes', device: 'cpu' })
  })
  afterAll(() => model?.close())

  const tokensOf = (picture: number) =>
    unflattenTokens(rows(golden.integers('enc_tokens'))[picture]!, model.config.pyramid)

  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

  it('is described by its file and the JSON beside it', () => {
    expect(model.config).toMatchObject({
      name: 'shapes',
      layout: 'combined',
      depth: 6,
      classes: 10,
      codebookSize: 1024,
    })
    expect(model.config.labels).toContain('heart')
    expect(model.weightBytes).toBeGreaterThan(1e6)
  })

  it('has the reference logits of next-scale passes, with a label and without', async () => {
    const expected = rows(golden.floats('ns_logits_image0'))
    for (const [row, label] of [labels[0]!, null].entries()) {
      const logits = await model.logits({ tokens: tokensOf(0), label, pass: 'next-scale' })
      expect(largestDifference(logits, expected[row]!)).toBeLessThan(1e-3)
    }
  })

  it('takes the label after the last for none', async () => {
    const request = { tokens: tokensOf(0), pass: 'next-scale' } as const
    expect(await model.logits({ ...request, label: 10 })).toEqual(
      await model.logits({ ...request, label: null }),
    )
  })

  it('has the reference logits of masked passes, with NaN at scale 1', async () => {
    const logits = await model.logits({
      tokens: tokensOf(0),
      label: labels[0]!,
      pass: 'masked',
      maskedPositions,
    })
    const [expected] = rows(golden.floats('mask_logits_image0'))
    expect(largestDifference(logits, expected!)).toBeLessThan(1e-3)
    expect(logits.subarray(0, 1024).every(Number.isNaN)).toBe(true)
    expect(logits.subarray(1024).some(Number.isNaN)).toBe(false)
  })

  it('scores pictures like the reference', async () => {
    const scores: Score[] = []
    for (const [picture, label] of labels.entries())
      scores.push(await model.score({ tokens: tokensOf(picture), label }))
    const perScale = (key: 'loss' | 'accuracy') =>
      model.config.pyramid.map((_, scale) => mean(scores.map((score) => score[key][scale]!)))
    expect(largestDifference(perScale('loss'), golden.floats('loss_per_scale').data)).toBeLessThan(1e-3)
    // One argmax in the 8 · 64 of the last scale may tip over.
    expect(largestDifference(perScale('accuracy'), golden.floats('accuracy_per_scale').data)).toBeLessThan(
      2e-3,
    )
  })

  it('scores masked positions like the reference', async () => {
    const losses: number[] = []
    for (const [picture, label] of labels.entries()) {
      const score = await model.score({ tokens: tokensOf(picture), label, pass: 'masked', maskedPositions })
      losses.push(score.meanLoss)
    }
    expect(mean(losses)).toBeCloseTo(golden.floats('masked_loss').data[0]!, 3)
  })

  it('closes while it works, and says so afterwards', async () => {
    const other = await HmarModel.load({ path: 'shapes' })
    const request = { tokens: tokensOf(0), label: 0, pass: 'next-scale' } as const
    const logits = other.logits(request)
    await other.close()
    expect(await logits).toHaveLength(130 * 1024)
    await expect(other.logits(request)).rejects.toMatchObject({ code: 'CLOSED' })
  })
})
