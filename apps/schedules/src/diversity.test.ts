import { expect, it } from 'vitest'
import { diversity } from './diversity.js'

const picture = (label: number, ...bytes: number[]) => ({ label, data: Uint8Array.from(bytes) })

it('is the distance of pictures of one label', () => {
  expect(diversity([picture(0, 10, 20), picture(0, 13, 24)])).toBe(Math.sqrt((9 + 16) / 2))
  expect(diversity([picture(0, 10), picture(0, 10), picture(1, 200), picture(1, 200)])).toBe(0)
  expect(diversity([picture(0, 10), picture(1, 200)])).toBe(0)
})
