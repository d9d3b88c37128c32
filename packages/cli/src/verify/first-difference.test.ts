import { Schedule } from '@hmar/scheduler'
import { expect, it } from 'vitest'

import { firstDifference } from './first-difference.js'

const { passes } = Schedule.forPyramid([1, 2]).refine(2, [1, 3]).compile()
const expected = [Int32Array.of(7, 1, 2, 3, 4, 1, 2, 3, 4), Int32Array.of(7, 1, 2, 3, 4, 1, 2, 3, 4)]

it('finds nothing where nothing differs', () => {
  expect(firstDifference(passes, expected, expected)).toBeUndefined()
})

it('names the earliest pass, not the first picture', () => {
  const late = Int32Array.of(7, 1, 2, 3, 4, 1, 2, 3, 9)
  const early = Int32Array.of(7, 1, 2, 8, 4, 0, 0, 0, 0)
  expect(firstDifference(passes, [late, early], expected)).toBe(
    'pass 2 of 3 (scale 2, next-scale), picture 1, position 2: 8 instead of 3',
  )
  expect(firstDifference(passes, [late, expected[1]!], expected)).toBe(
    'pass 3 of 3 (scale 2, masked), picture 0, position 3: 9 instead of 4',
  )
})
