import { expectTypeOf, it } from 'vitest'

import { type Pass, type Plan, Schedule } from './index.js'

it('composes without changing what it is called on', () => {
  const schedule = Schedule.forPyramid([1, 2, 3])
  expectTypeOf(schedule).toEqualTypeOf<Schedule>()
  expectTypeOf(schedule.refine(2, [1, 3])).toEqualTypeOf<Schedule>()
  expectTypeOf(schedule.guidance({ scale: 1.7 })).toEqualTypeOf<Schedule>()
  expectTypeOf(schedule.sampling({ topP: 0.99 })).toEqualTypeOf<Schedule>()
})

it('compiles to a plan of passes that cannot be changed', () => {
  expectTypeOf<Schedule['compile']>().returns.toEqualTypeOf<Plan>()
  expectTypeOf<Plan['passes']>().toEqualTypeOf<readonly Pass[]>()
  expectTypeOf<Pass['kind']>().toEqualTypeOf<'next-scale' | 'masked'>()
})

it('refuses sampling options that it does not know', () => {
  // @ts-expect-error: it is `topP`.
  Schedule.forPyramid([1]).sampling({ top_p: 0.99 })
})
