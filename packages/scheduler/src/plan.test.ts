import { describe, expect, it } from 'vitest'
import { Schedule } from './schedule.js'

const schedule = Schedule.preset('d16').sampling({ topK: 0, smooth: true })

describe('Plan', () => {
  it('has the same hash for the same passes, however they were composed', () => {
    const composed = Schedule.forPyramid([1, 2, 3])
      .sampling({ topK: 5 })
      .guidance({ scale: 2 })
      .refine(3, { curve: 'uniform', steps: 3 })
    const written = Schedule.forPyramid([1, 2, 3])
      .guidance({ scale: 2 })
      .refine(3, [3, 3, 3])
      .sampling({ topK: 5 })
    expect(composed.compile().hash).toBe(written.compile().hash)
  })

  it('has another hash for anything that changes the picture', () => {
    const changes = [
      schedule,
      schedule.sampling({ topK: 1 }),
      schedule.sampling({ topP: 0.5 }),
      schedule.sampling({ minP: 0.5 }),
      schedule.sampling({ temperature: 0.5 }),
      schedule.sampling({ smooth: false }),
      schedule.guidance({ scale: 1.70001 }),
      schedule.guidance({ masked: 0 }),
      schedule.refine(2, [4]),
      schedule.refine(2, [3, 1]),
    ]
    expect(new Set(changes.map((changed) => changed.compile().hash)).size).toBe(changes.length)
  })

  it('keeps its hash from release to release', () => {
    expect(Schedule.preset('d16').compile().hash).toBe('90397f6e95e9004b')
  })

  it('is frozen, down to its passes', () => {
    const plan = schedule.compile()
    for (const value of [plan, plan.pyramid, plan.passes, plan.passes[0]])
      expect(Object.isFrozen(value)).toBe(true)
  })

  it('prints a line a pass', () => {
    const lines = String(
      Schedule.forPyramid([1, 2]).refine(2, [1, 3]).guidance({ scale: 1.7 }).sampling({ topK: 9 }).compile(),
    ).split('\n')
    expect(lines[0]).toMatch(/^plan [0-9a-f]{16}$/)
    expect(lines.slice(1)).toEqual([
      'pass  scale  side        kind  commits   guidance  temperature  top-k  top-p  min-p',
      '   0      1     1  next-scale   1 of 1          0            1      9    all    all',
      '   1      2     2  next-scale   1 of 4        1.7            1      9    all    all',
      '   2      2     2      masked   3 of 4  0.0000017            1      9    all    all',
    ])
  })

  it('says how positions are chosen and what is revised, where anything is', () => {
    const composed = Schedule.forPyramid([1, 2, 3])
      .refine(2, [1, 3])
      .refine(3, [4, 5])
      .positions({ kind: 'gumbel', temperature: 1 })
      .positions({ kind: 'halton' }, 3)
      .revise(3, [2])
    expect(String(composed.compile()).split('\n').slice(1)).toEqual([
      'pass  scale  side        kind  revises  commits       positions  guidance  temperature  top-k  top-p  min-p',
      '   0      1     1  next-scale        0   1 of 1               –         0            1    all    all    all',
      '   1      2     2  next-scale        0   1 of 4      gumbel 0.5         0            1    all    all    all',
      '   2      2     2      masked        0   3 of 4               –         0            1    all    all    all',
      '   3      3     3  next-scale        0   4 of 9  order 4 2 6 1…         0            1    all    all    all',
      '   4      3     3      masked        2   7 of 9               –         0            1    all    all    all',
    ])
  })

  it('counts what passes leave open', () => {
    const plan = Schedule.forPyramid([1, 3]).refine(2, [2, 3, 4]).revise(2, [1, 2, 5]).compile()
    expect(plan.passes.map((_, index) => plan.openCount(index))).toEqual([0, 7, 4, 0, 0])
  })

  it('is plain data as JSON', () => {
    const plan = schedule.compile()
    expect(JSON.parse(JSON.stringify(plan))).toEqual({ pyramid: plan.pyramid, passes: plan.passes })
  })
})
