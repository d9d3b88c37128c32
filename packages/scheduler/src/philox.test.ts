import { expect, it } from 'vitest'
import { philox } from './philox.js'

// Random123's known answers.
it.each([
  [0n, [0, 0, 0, 0], 0x6627e8d5],
  [2n ** 64n - 1n, [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], 0x408f276d],
  [0x299f31d0a4093822n, [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], 0xd16cfe09],
] as [bigint, number[], number][])('philox: known answer %#', (seed, counter, word) => {
  const [position, pass, image, purpose] = counter as [number, number, number, number]
  expect(philox({ seed, position, pass, image, purpose })).toBe(word)
})
