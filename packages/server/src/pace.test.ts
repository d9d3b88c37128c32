import { expect, it } from 'vitest'

import { Pace } from './pace.js'

it('says nothing before it has seen work, then follows what it saw last', () => {
  const pace = new Pace()
  expect(pace.millisecondsFor(100)).toBeUndefined()
  pace.learn(1000, 10)
  expect(pace.millisecondsFor(500)).toBe(5)
  for (let times = 0; times < 50; times++) pace.learn(1000, 100)
  expect(pace.millisecondsFor(500)).toBeCloseTo(50, 3)
})
