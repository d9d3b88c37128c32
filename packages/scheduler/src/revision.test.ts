import { HmarRangeError } from '@hmar/core'
import { describe, expect, it } from 'vitest'
import type { Revision } from './revision.js'
import { Schedule } from './schedule.js'

const schedule = Schedule.forPyramid([1, 2, 4]).refine(3, [4, 4, 8])
const counts = (composed: Schedule) =>
  composed
    .compile()
    .passes.filter(({ scale }) => scale === 3)
    .map(({ revises = 0, commits }) => [revises, commits])
const invalid = (message: string) =>
  expect.objectContaining({ code: 'SCHEDULE_INVALID', message: expect.stringContaining(message) })

describe('Schedule.revise', () => {
  it.each([
    [[], [4, 4, 8], [0, 0, 0]],
    [[2], [4, 6, 8], [0, 2, 0]],
    [
      [4, 8],
      [4, 8, 16],
      [0, 4, 8],
    ],
    [
      [0, 1, 5, 16],
      [4, 4, 9, 5, 16],
      [0, 0, 1, 5, 16],
    ],
    [{ share: 0.5 }, [4, 6, 12], [0, 2, 4]],
    [{ share: 0.3 }, [4, 5, 10], [0, 1, 2]],
  ] as [Revision, number[], number[]][])('%j', (revision, commits, revises) => {
    const revised = schedule.revise(3, revision)
    expect(counts(revised)).toEqual(commits.map((count, step) => [revises[step], count]))
    expect(revised.commits[2]).toEqual(commits)
  })

  it('adds passes to a scale that has none', () => {
    expect(counts(schedule.refine(3, [16]).revise(3, [3]))).toEqual([
      [0, 16],
      [3, 3],
    ])
    expect(() =>
      schedule
        .refine(3, [16])
        .revise(3, [3])
        .compile({ pyramid: [1, 2, 4], layout: 'var' }),
    ).toThrow(invalid('scale 3 has masked passes'))
  })

  it('rounds shares as people do', () => {
    const tens = Schedule.forPyramid([1, 10]).refine(2, [30, 70]).revise(2, { share: 0.1 })
    expect(tens.compile().passes[2]?.revises).toBe(3)
  })

  it('leaves the plan as it was where it revises nothing', () => {
    expect(schedule.revise(3, [0]).compile().hash).toBe(schedule.compile().hash)
    expect(schedule.revise(3, { share: 0 }).compile().hash).toBe(schedule.compile().hash)
  })

  it.each([
    [[5], 'masked pass 1 of scale 3 revises 5 tokens. Expected: at most 4'],
    [[0, 9], 'masked pass 2 of scale 3 revises 9 tokens. Expected: at most 8'],
    [[0, 0, 17], 'masked pass 3 of scale 3 revises 17 tokens. Expected: from 1 to 16'],
    [[0, 0, 0], 'masked pass 3 of scale 3 revises 0 tokens. Expected: from 1 to 16'],
  ])('refuses %j', (revision, message) => {
    expect(() => schedule.revise(3, revision)).toThrow(invalid(message))
  })

  it.each([[[-1]], [[0.5]], [{ share: 1.5 }], ['some']])('refuses %j as none', (revision) => {
    expect(() => schedule.revise(3, revision as Revision)).toThrow(HmarRangeError)
  })
})
