import { expect, it } from 'vitest'

import { countDifferences, largestDifference, relativeError, signalToNoise } from './compare.js'

it('counts what differs, and what is missing', () => {
  expect(countDifferences([1, 2, 3], [1, 0, 3])).toBe(1)
  expect(countDifferences([1], [1, 2, 3])).toBe(2)
})

it('takes the largest difference, and none for a number against none', () => {
  expect(largestDifference([1, 2.5, -1], [1, 2, 1])).toBe(2)
  expect(largestDifference([Number.NaN], [1])).toBe(Number.POSITIVE_INFINITY)
  expect(largestDifference([1], [1, 5])).toBe(Number.POSITIVE_INFINITY)
})

it('sets errors in relation to how much the expected values vary', () => {
  // Deviation 2 around 10, each off by 0.2.
  expect(relativeError([8.2, 12.2, 7.8, 11.8], [8, 12, 8, 12])).toBeCloseTo(0.1)
  expect(relativeError([Number.NaN, 1], [0, 1])).toBe(Number.POSITIVE_INFINITY)
})

it('measures bytes in decibels', () => {
  const expected = new Uint8Array(100).fill(100)
  expect(signalToNoise(expected, expected)).toBe(Number.POSITIVE_INFINITY)
  // Off by one everywhere: 20·log₁₀ 255.
  expect(signalToNoise(new Uint8Array(100).fill(101), expected)).toBeCloseTo(48.13, 2)
})
