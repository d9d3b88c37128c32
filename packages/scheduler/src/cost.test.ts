import { HmarRangeError } from '@hmar/core'
import { describe, expect, it } from 'vitest'
import { Schedule } from './schedule.js'
import { d16, tokenizer, varD16 } from './testing/models.js'

const schedule = Schedule.preset('d16')

// By hand, for D = 16, C = 1024, V = 4096.
const passWeights = 12 * 1024 ** 2 * 16 + 1024 * 4096
const attention = 4 * 16 * 1024

describe('the cost of d16 at 256 pixels', () => {
  const cost = schedule.cost(d16)

  it('is 14 passes over 1,390 tokens', () => {
    expect(cost.passes).toBe(14)
    // Two halves of 680 tokens but for scale 1, of no guidance; 4 and 3 · 9 tokens in masked passes, of one half.
    expect(cost.tokens).toBe(2 * 680 - 1 + 4 + 27)
    expect(cost.perPass.map(({ tokens }) => tokens)).toEqual([
      1, 8, 4, 18, 9, 9, 9, 32, 50, 72, 128, 200, 338, 512,
    ])
  })

  it('is 0.571 TFLOP in products, with attention 0.586', () => {
    const products = 2 * 1390 * passWeights
    expect(products).toBe(571_348_090_880)
    // Σ p⁴: 110,467 for scales 2 to 10, twice; 1 for the first; 16 and 3 · 81 in masked passes.
    const pairs = 2 * 110_467 + 1 + 16 + 3 * 81
    // (6 · 24 blocks + 2 · 2 heads) · C², for the label and for none.
    expect(cost.conditioning.flops).toBe(2 * 2 * 148 * 1024 ** 2)
    expect(cost.flops).toBe(products + attention * pairs + cost.conditioning.flops)
  })

  it('reads the blocks and a head in each pass', () => {
    expect(cost.perPass[0]?.weightBytes).toBe(4 * passWeights)
    expect(cost.weightBytes).toBe(4 * (14 * passWeights + 148 * 1024 ** 2))
    expect(schedule.cost(d16, { dtype: 'bf16' }).weightBytes).toBe(cost.weightBytes / 2)
  })

  it('adds the decoder on demand', () => {
    const { decoder, flops } = schedule.cost(d16, { tokenizer })
    expect(flops).toBe(cost.flops + (decoder?.flops ?? 0))
    // The sizes of the released file's convolutions in `decoder.*` and `post_quant_conv`.
    expect(decoder?.weightBytes).toBe(4 * 64607456)
  })
})

describe('what changes the cost', () => {
  it('pictures multiply the arithmetic, not the weights', () => {
    const [one, four] = [schedule.cost(d16), schedule.cost(d16, { images: 4 })]
    expect(four.tokens).toBe(4 * one.tokens)
    expect(four.weightBytes).toBe(one.weightBytes)
    // Four labels and none, or one label and none.
    expect(four.conditioning.flops).toBe((5 / 2) * one.conditioning.flops)
    expect(schedule.cost(d16, { images: 4, labels: 1 }).conditioning).toEqual(one.conditioning)
  })

  it('masked passes of negligible guidance have both halves on demand', () => {
    expect(schedule.cost(d16, { skipNegligibleGuidance: false }).tokens).toBe(1390 + 31)
    expect(schedule.guidance({ masked: 0.5 }).cost(d16).tokens).toBe(1390 + 31)
    expect(schedule.guidance({ masked: 0 }).cost(d16, { skipNegligibleGuidance: false }).tokens).toBe(1390)
  })

  it('no guidance means one half and one class', () => {
    const cost = schedule.guidance({ scale: 0 }).cost(d16)
    expect(cost.tokens).toBe(680 + 31)
    expect(cost.conditioning.flops).toBe(2 * 148 * 1024 ** 2)
  })

  it('VAR has both halves in every guided pass, and attends to all earlier scales', () => {
    const cost = Schedule.preset('var').cost(varD16)
    expect(cost.tokens).toBe(2 * 680)
    // Scale 3: 9 tokens, to 1 + 4 + 9.
    expect(cost.perPass[2]?.flops).toBe(2 * 18 * passWeights + attention * 18 * 14)
    expect(cost.conditioning.flops).toBe(2 * 2 * (6 * 16 + 2) * 1024 ** 2)
    expect(Schedule.preset('var').guidance({ scale: 0 }).cost(varD16).tokens).toBe(680)
  })

  it('a shared AdaLN is computed once', () => {
    const shared = { ...varD16, sharedAdaLN: true }
    expect(Schedule.preset('var').cost(shared).conditioning.weightBytes).toBe(4 * (6 + 2) * 1024 ** 2)
  })
})

describe('a cost that cannot be counted', () => {
  it.each([{ images: 0 }, { images: 1.5 }, { labels: 0 }, { dtype: 'f16' }, { batch: 2 }])(
    '%j',
    (options) => {
      expect(() => schedule.cost(d16, options as object)).toThrow(HmarRangeError)
    },
  )

  it('for another model', () => {
    expect(() => Schedule.forPyramid([1, 2]).cost(d16)).toThrow('it is for another pyramid than the model')
  })
})
