import { expect, it } from 'vitest'

import { summarize } from './statistics.js'

it('takes the middle, or the mean of the two middle values', () => {
  expect(summarize([9, 1, 4])).toEqual({ median: 4, min: 1, max: 9, spread: 2, count: 3 })
  expect(summarize([4, 1, 9, 2]).median).toBe(3)
  expect(summarize([5])).toEqual({ median: 5, min: 5, max: 5, spread: 0, count: 1 })
})
