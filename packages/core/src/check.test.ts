import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { checkInteger, checkOptions, checkSeed } from './check.js'
import { HmarRangeError } from './error.js'

describe('checkSeed', () => {
  it.each([
    [0, 0n],
    [13, 13n],
    [Number.MAX_SAFE_INTEGER, 2n ** 53n - 1n],
    [2n ** 40n, 2n ** 40n],
    [2n ** 64n - 1n, 2n ** 64n - 1n],
  ])('takes %s', (seed, expected) => {
    expect(checkSeed(seed)).toBe(expected)
  })

  it.each([-1, 1.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, -1n, 2n ** 64n])('refuses %s', (seed) => {
    expect(() => checkSeed(seed)).toThrow(HmarRangeError)
  })
})

describe('checkInteger', () => {
  it('gives the number back, bounds included', () => {
    expect([1, 8].map((value) => checkInteger('The batch size', value, 1, 8))).toEqual([1, 8])
  })

  it.each([0, 9, 1.5, Number.NaN, '4', 4n, null])('refuses %s', (value) => {
    expect(() => checkInteger('The batch size', value, 1, 8)).toThrow(
      /^The batch size is out of range\. Found: /,
    )
  })
})

describe('checkOptions', () => {
  const schema = z.strictObject({ threads: z.int().positive().optional() })

  it('lists everything that is wrong by its path', () => {
    expect(checkOptions('Options', schema, { threads: 2 })).toEqual({ threads: 2 })
    expect(() => checkOptions('Options', schema, { threads: 0.5, thread: 2 })).toThrow(
      /Options: threads: .*; .*"thread"/,
    )
  })

  it('says every way in which a value could have been right', () => {
    const list = z.union([z.number(), z.array(z.number())])
    expect(() => checkOptions('Options', z.strictObject({ list }), { list: [1, 'a'] })).toThrow(
      'Options: list: Invalid input: expected number, received array, or 1: Invalid input: expected number, received string.',
    )
  })
})
