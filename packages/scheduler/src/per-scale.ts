import type { Pyramid } from '@hmar/core'
import { z } from 'zod'
import { invalid } from './invalid.js'

/** A straight line over the scales. */
export interface Ramp {
  /** The value at the first scale. */
  readonly from: number
  /** The value at the last scale. */
  readonly to: number
}

/** One value for all scales, a list with one for each, or a {@link Ramp}. */
export type PerScale = number | readonly number[] | Ramp

/** The schema of a {@link PerScale} whose values fit `value`. */
export const perScale = (value: z.ZodNumber) =>
  z.union([value, z.array(value).readonly(), z.strictObject({ from: value, to: value }).readonly()])

/** The value at a scale, counted from 1, of `scaleCount`. */
export function valueAt(values: PerScale, scale: number, scaleCount: number): number {
  if (typeof values === 'number') return values
  if (!('from' in values)) return values[scale - 1] as number
  const { from, to } = values
  const r = (scale - 1) / (scaleCount - 1)
  // Rounding must not lead out of the range of both.
  return Math.min(Math.max((1 - r) * from + r * to, Math.min(from, to)), Math.max(from, to))
}

/**
 * Checks that a list has a value for each scale.
 *
 * @throws {HmarError} `SCHEDULE_INVALID`.
 */
export function checkLength(name: string, values: PerScale | string, pyramid: Pyramid): void {
  if (typeof values === 'object' && 'length' in values && values.length !== pyramid.length)
    throw invalid(`${name} has ${values.length} values for ${pyramid.length} scales`, {
      expected: 'one value for all scales, a list with one for each, or a ramp',
    })
}
