import { expect, it } from 'vitest'
import { acosPi, cosPi, exp2, log2, logarithm, power } from './portable-math.js'

const shares = Array.from({ length: 10_001 }, (_, index) => index / 10_000)
const epsilon = 2 ** -52

/** The largest error over the shares, in units of the last place of 1 or of the value, whichever is larger. */
const error = (found: (x: number) => number, expected: (x: number) => number, from = shares) =>
  Math.max(
    ...from.map((x) => Math.abs(found(x) - expected(x)) / (epsilon * Math.max(1, Math.abs(expected(x))))),
  )

it('agrees with Math to the last places', () => {
  expect(error(cosPi, (x) => Math.cos(Math.PI * x))).toBeLessThan(3)
  expect(error(acosPi, (x) => Math.acos(x) / Math.PI)).toBeLessThan(2)
  expect(
    error(
      (x) => exp2(40 * x - 20),
      (x) => 2 ** (40 * x - 20),
    ),
  ).toBeLessThan(3)
  const positive = shares.slice(1)
  expect(error(log2, Math.log2, positive)).toBeLessThan(2)
  expect(
    error(
      (x) => log2(262_144 * x),
      (x) => Math.log2(262_144 * x),
      positive,
    ),
  ).toBeLessThan(2)
  expect(error(logarithm, Math.log, positive)).toBeLessThan(2)
  for (const exponent of [0.1, 1, 2, 2.5, 100])
    expect(
      error(
        (x) => power(x, exponent),
        (x) => x ** exponent,
      ),
    ).toBeLessThan(20)
})

it('is exact where the value is', () => {
  expect([0, 0.5, 1].map(cosPi)).toEqual([1, 0, -1])
  expect([0.25, 1, 2, 1024].map(log2)).toEqual([-2, 0, 1, 10])
  expect([-1022, -3, 0, 10].map(exp2)).toEqual([2 ** -1022, 1 / 8, 1, 1024])
  expect(exp2(-2000)).toBe(0)
  expect(acosPi(1)).toBe(0)
  expect(power(0, 0.5)).toBe(0)
  expect(power(0.5, 3)).toBe(1 / 8)
})
