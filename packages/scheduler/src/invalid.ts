import { describeIssues, HmarError, type HmarErrorDetails } from '@hmar/core'
import type { z } from 'zod'

/** The error of a schedule that cannot be used, and why. */
export function invalid(reason: string, details: HmarErrorDetails = {}): HmarError {
  return new HmarError('SCHEDULE_INVALID', `The schedule is not usable: ${reason}.`, details)
}

/**
 * Checks data that was read.
 *
 * @throws {HmarError} `SCHEDULE_INVALID` with everything that is wrong, by path.
 */
export function parseData<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw invalid(describeIssues(result.error))
}
