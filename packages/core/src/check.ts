import type { z } from 'zod'
import { HmarRangeError } from './error.js'

/**
 * Checks a whole number.
 *
 * @param name - What the number is, as the message should call it.
 * @returns The number.
 * @throws {@link HmarRangeError}
 */
export function checkInteger(name: string, value: unknown, least: number, most: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value
  throw new HmarRangeError(`${name} is out of range.`, {
    found: describeValue(value),
    expected: `a whole number from ${least} to ${most}`,
  })
}

const seedLimit = 2n ** 64n

/**
 * Checks a seed.
 *
 * @param seed - A whole number: a `number` up to 2⁵³ − 1, beyond which it would not be exact, or a `bigint` below 2⁶⁴.
 * @throws {@link HmarRangeError}
 */
export function checkSeed(seed: number | bigint): bigint {
  if (typeof seed === 'bigint' ? seed >= 0n && seed < seedLimit : Number.isSafeInteger(seed) && seed >= 0)
    return BigInt(seed)
  throw new HmarRangeError('The seed is out of range.', {
    found: describeValue(seed),
    expected: 'a whole number from 0 to 2⁶⁴ − 1, as a bigint from 2⁵³ on',
  })
}

/**
 * Checks a value that a caller passed in against a zod schema.
 *
 * @param name - What the value is, as the message should call it.
 * @returns The parsed value.
 * @throws {@link HmarRangeError} listing everything that is wrong, by path.
 */
export function checkOptions<T>(name: string, schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new HmarRangeError(`${name}: ${describeIssues(result.error)}.`, { cause: result.error })
}

/** Everything that zod found wrong, in one line, each with its path. */
export function describeIssues({ issues }: { issues: readonly z.core.$ZodIssue[] }): string {
  return issues
    .map((issue) => {
      const path = issue.path.map(String).join('.')
      return path === '' ? describeIssue(issue) : `${path}: ${describeIssue(issue)}`
    })
    .join('; ')
}

function describeIssue(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return issue.message
  return issue.errors.map((issues) => describeIssues({ issues })).join(', or ')
}

/** A value as an error says that it was found. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'bigint') return `${value}n`
  return Array.isArray(value) ? 'an array' : String(value)
}
