import { expect, it } from 'vitest'

import { keptError } from './kept-error.js'

it('counts kept pixels alone', () => {
  const a = Uint8Array.of(0, 0, 0, 100, 100, 100, 0, 0, 0, 9, 9, 9)
  const b = Uint8Array.of(3, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0)
  const mask = (...data: number[]) => ({ data: Uint8Array.from(data), side: 2 })
  expect(keptError([[a, b]], mask(1, 0, 0, 0))).toBe(3)
  expect(keptError([[a, b]], mask(1, 0, 1, 1))).toBeCloseTo(Math.sqrt(30))
  expect(keptError([[a, a]], mask(1, 1, 1, 1))).toBe(0)
})
