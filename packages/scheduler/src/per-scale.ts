import { HmarError, type Pyramid } from '@hmar/core'
import { z } from 'zod'

/** One value for all scales, or a list with one for each. */
export type PerScale = number | readonly number[]

/** The schema of a {@link PerScale} whose values fit `value`. */
export const perScale = (value: z.ZodNumber) => z.union([value, z.array(value).readonly()])

/** The value at a scale, counted from 1. */
export function valueAt(values: PerScale, scale: number): number {
  return typeof values === 'number' ? values : (values[scale - 1] as number)
}

/**
 * Checks that a list has a value for each scale.
 *
 * @throws {@link HmarError} `SCHEDULE_INVALID`.
 */
export function checkLength(name: string, values: PerScale | string, pyramid: Pyramid): void {
  if (typeof values === 'object' && values.length !== pyramid.length)
    throw new HmarError(
      'SCHEDULE_INVALID',
      `The schedule is not usable: ${name} has ${values.length} values for ${pyramid.length} scales.`,
      { expected: 'one value for all scales, or a list with one for each' },
    )
}
