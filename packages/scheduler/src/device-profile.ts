import { checkOptions, HmarRangeError } from '@hmar/core'
import { z } from 'zod'
import type { ScheduleCost } from './cost.js'
import type { Work } from './work.js'

const rate = z.number().positive().nullable()

/** What a device does in a second, in one precision: plain data, to be stored. `null` where it did not show. */
export const DeviceProfile = z.strictObject({
  /** Floating-point operations of passes. */
  flopsPerSecond: rate,
  /** Bytes of weights that passes read; what else a pass takes however few its tokens is part of it. */
  weightBytesPerSecond: rate,
  /** Floating-point operations of the decoder. */
  decoderFlopsPerSecond: rate,
})
/** What a device does in a second, in one precision. */
export type DeviceProfile = Readonly<z.infer<typeof DeviceProfile>>

/** One batch that was generated: what it cost, and how long it took. */
export interface MeasuredRun {
  /** Of the batch's plan, pictures and precision, with the decoder. */
  readonly cost: ScheduleCost
  /** In milliseconds, as `generate` reports them. */
  readonly timings: { readonly passMs: readonly number[]; readonly decodeMs: number }
}

const times = z.array(z.number().positive())
const MeasuredTimings = z.object({ passMs: times.min(1), decodeMs: z.number().min(0) })

/**
 * Fits a device's profile to a batch that was generated on it. It holds for other schedules and batches of the same model,
 * and the better for other models the nearer they are in size.
 *
 * @example
 * ```ts
 * const options = { images: 8, dtype: 'bf16', tokenizer: sampler.tokenizer.config } as const
 * const { timings } = await sampler.generate({ labels: [0, 1, 2, 3, 4, 5, 6, 7], schedule })
 * const device = profileDevice({ cost: schedule.cost(sampler.model.config, options), timings })
 * other.cost(sampler.model.config, { ...options, device }).milliseconds
 * ```
 *
 * @throws {HmarRangeError} if the times are not those of the cost's passes.
 */
export function profileDevice({ cost, timings }: MeasuredRun): DeviceProfile {
  const { passMs, decodeMs } = checkOptions('The timings', MeasuredTimings, timings)
  if (passMs.length !== cost.perPass.length)
    throw new HmarRangeError('The timings are not those of the cost.', {
      found: `${passMs.length} passes`,
      expected: `${cost.perPass.length} passes`,
    })
  const rows = cost.perPass.map(({ flops, weightBytes }, index) => {
    const time = passMs[index] as number
    return [flops / time, weightBytes / time] as const
  })
  const [perFlop, perByte] = fit(rows)
  return {
    flopsPerSecond: perSecond(perFlop),
    weightBytesPerSecond: perSecond(perByte),
    decoderFlopsPerSecond: perSecond(cost.decoder ? decodeMs / cost.decoder.flops : 0),
  }
}

/** The x and y, not negative, for which x·a + y·b is nearest to 1 over the rows: least squares of the relative error. */
function fit(rows: readonly (readonly [a: number, b: number])[]): [x: number, y: number] {
  const sum = (term: (a: number, b: number) => number) =>
    rows.reduce((total, [a, b]) => total + term(a, b), 0)
  const [a, b] = [sum((a) => a), sum((_, b) => b)]
  const [aa, ab, bb] = [sum((a) => a * a), sum((a, b) => a * b), sum((_, b) => b * b)]
  const determinant = aa * bb - ab * ab
  // Where passes are all alike, nothing tells the two apart: they count as weights read.
  if (determinant > 1e-9 * aa * bb) {
    const [x, y] = [(a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant]
    if (x >= 0 && y >= 0) return [x, y]
    if (y < 0) return [a / aa, 0]
  }
  return [0, b / bb]
}

const perSecond = (milliseconds: number) => (milliseconds === 0 ? null : 1000 / milliseconds)

/** The time that passes and decoder take on a device, in milliseconds. */
export function estimate(passes: readonly Work[], decoder: Work | undefined, device: DeviceProfile): number {
  const time = (amount: number, rate: number | null) => (rate === null ? 0 : (1000 * amount) / rate)
  return passes.reduce(
    (sum, { flops, weightBytes }) =>
      sum + time(flops, device.flopsPerSecond) + time(weightBytes, device.weightBytesPerSecond),
    time(decoder?.flops ?? 0, device.decoderFlopsPerSecond),
  )
}
