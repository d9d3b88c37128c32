import { expect, it } from 'vitest'

import { noise } from './ours.js'

it('makes normal bfloat16 numbers, other ones for another seed', () => {
  const values = (seed: number) =>
    Array.from(noise(200_000, seed), (bits) => new Float32Array(new Uint32Array([bits << 16]).buffer)[0]!)
  const [first, second] = [values(0), values(1)]
  const mean = first.reduce((sum, value) => sum + value, 0) / first.length
  const variance = first.reduce((sum, value) => sum + (value - mean) ** 2, 0) / first.length
  // Of 65,521 different ones: deviations of 0.004 and 0.006.
  expect(Math.abs(mean)).toBeLessThan(0.02)
  expect(Math.abs(variance - 1)).toBeLessThan(0.03)
  expect(first).not.toEqual(second)
})
