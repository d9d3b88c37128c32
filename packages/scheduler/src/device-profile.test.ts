import { HmarRangeError } from '@hmar/core'
import { describe, expect, it } from 'vitest'
import { profileDevice } from './device-profile.js'
import { Schedule } from './schedule.js'
import { d16, tokenizer } from './testing/models.js'

const schedule = Schedule.preset('d16')

/** d16, one picture, in milliseconds: bench/results/2026-11-24-amd-epyc.json. */
const measured = {
  f32: {
    totalMs: 5603.6,
    decodeMs: 2142.8,
    passMs: [29.5, 28.1, 30.8, 47.7, 34.3, 31.9, 30.6, 81, 117.3, 169.3, 297.1, 492.7, 798.8, 1219],
  },
  bf16: {
    totalMs: 3258.8,
    decodeMs: 1167.8,
    passMs: [22.3, 20.3, 20.7, 29, 17.6, 17.1, 17.7, 46.7, 84.2, 104.9, 167.8, 301.7, 477.2, 755.3],
  },
}

describe('a device’s profile', () => {
  it('comes back from times that it made', () => {
    const cost = schedule.cost(d16, { tokenizer })
    const passMs = cost.perPass.map(({ flops, weightBytes }) => flops / 2e8 + weightBytes / 3e7)
    const device = profileDevice({ cost, timings: { passMs, decodeMs: 50 } })
    expect(device.flopsPerSecond).toBeCloseTo(2e11, -4)
    expect(device.weightBytesPerSecond).toBeCloseTo(3e10, -3)
    const halved = schedule.refine(10, { curve: 'cosine', steps: 4 })
    const expected = (costs: typeof cost) =>
      [...costs.perPass, costs.conditioning].reduce(
        (sum, { flops, weightBytes }) => sum + flops / 2e8 + weightBytes / 3e7,
        50,
      )
    for (const other of [schedule, halved]) {
      const { milliseconds } = other.cost(d16, { tokenizer, device })
      expect(milliseconds).toBeCloseTo(expected(other.cost(d16, { tokenizer })), 3)
    }
  })

  it.each(['f32', 'bf16'] as const)('estimates what was measured within a tenth: %s', (dtype) => {
    const { totalMs, ...timings } = measured[dtype]
    const device = profileDevice({ cost: schedule.cost(d16, { tokenizer, dtype }), timings })
    const { milliseconds } = schedule.cost(d16, { tokenizer, dtype, device })
    expect((milliseconds as number) / totalMs).toBeGreaterThan(0.9)
    expect((milliseconds as number) / totalMs).toBeLessThan(1.1)
  })

  it('never has a negative part', () => {
    const cost = schedule.cost(d16)
    const rising = cost.perPass.map(({ flops }) => (flops / 1e9) ** 1.5)
    expect(profileDevice({ cost, timings: { passMs: rising, decodeMs: 0 } })).toMatchObject({
      weightBytesPerSecond: null,
      decoderFlopsPerSecond: null,
    })
    const falling = cost.perPass.map((_, index) => 20 - index)
    expect(profileDevice({ cost, timings: { passMs: falling, decodeMs: 0 } }).flopsPerSecond).toBeNull()
  })

  it.each([[[]], [[1, 2]], [new Array(14).fill(0)], [new Array(14).fill(Number.NaN)]])(
    'is refused from times %j',
    (passMs) => {
      const run = { cost: schedule.cost(d16), timings: { passMs, decodeMs: 1 } }
      expect(() => profileDevice(run)).toThrow(HmarRangeError)
    },
  )

  it('is checked where it is used', () => {
    const device = { flopsPerSecond: 0, weightBytesPerSecond: null, decoderFlopsPerSecond: null }
    expect(() => schedule.cost(d16, { device })).toThrow('device.flopsPerSecond')
  })
})
