import { HmarRangeError } from '@hmar/core'
import { describe, expect, it } from 'vitest'
import { Schedule } from './schedule.js'
import { d16, shapes } from './testing/models.js'

const small = [1, 2, 3]
const schedule = Schedule.forPyramid([1, 2, 3, 4, 6, 8])
  .refine(2, [1, 3])
  .refine(3, [1, 1, 2, 5])
  .guidance({ nextScale: 'linear', scale: 1.7 })
  .sampling({ topK: 1000, topP: 0.99 })
const invalid = (message: string) =>
  expect.objectContaining({ code: 'SCHEDULE_INVALID', message: expect.stringContaining(message) })

describe('Schedule', () => {
  it('compiles to passes in the order in which they run', () => {
    const { pyramid, passes } = schedule.compile(shapes)
    expect(pyramid).toEqual([1, 2, 3, 4, 6, 8])
    expect(passes.map(({ kind, scale, side, commits }) => [kind, scale, side, commits])).toEqual([
      ['next-scale', 1, 1, 1],
      ['next-scale', 2, 2, 1],
      ['masked', 2, 2, 3],
      ['next-scale', 3, 3, 1],
      ['masked', 3, 3, 1],
      ['masked', 3, 3, 2],
      ['masked', 3, 3, 5],
      ['next-scale', 4, 4, 16],
      ['next-scale', 5, 6, 36],
      ['next-scale', 6, 8, 64],
    ])
    for (const pass of passes)
      expect(pass).toMatchObject({ temperature: 1, topK: 1000, topP: 0.99, minP: 0, smooth: false })
  })

  it('never changes: methods give new schedules, and data is frozen', () => {
    const before = schedule.compile().hash
    expect(schedule.guidance({ scale: 3 }).compile().hash).not.toBe(before)
    expect(schedule.refine(2, [4]).compile().hash).not.toBe(before)
    expect(schedule.compile().hash).toBe(before)
    for (const value of [schedule, schedule.pyramid, schedule.commits[1], schedule.toJSON().guidance])
      expect(Object.isFrozen(value)).toBe(true)
  })

  it('keeps its own copy of what it was given', () => {
    const list = [1, 3]
    const refined = Schedule.forPyramid(small).refine(2, list)
    list[1] = 7
    expect(refined.commits[1]).toEqual([1, 3])
    expect(refined.toJSON().refinements[1]).toEqual([1, 3])
  })

  it('changes only the options it is given', () => {
    const changed = schedule.sampling({ minP: 0.1, topK: undefined }).guidance({ scale: undefined })
    expect(changed.compile().passes.at(-1)).toMatchObject({ guidance: 1.7, topK: 1000, minP: 0.1 })
  })

  it('refines by curves', () => {
    expect(Schedule.forPyramid(small).refine(3, { curve: 'uniform', steps: 3 }).commits).toEqual([
      [1],
      [4],
      [3, 3, 3],
    ])
  })
})

describe('a refinement that does not fit', () => {
  it.each([
    [3, [1, 2, 5], 'scale 3 commits 8 tokens but has 9'],
    [2, [2, 3], 'scale 2 commits 5 tokens but has 4'],
    [2, [], 'scale 2 commits 0 tokens but has 4'],
    [2, [4, 0], 'scale 2 has a pass that commits 0 tokens'],
    [2, [-1, 5], 'scale 2 has a pass that commits -1 tokens'],
    [2, [1.5, 2.5], 'scale 2 has a pass that commits 1.5 tokens'],
    [2, { curve: 'cosine', steps: 5 } as const, 'scale 2 is refined in 5 steps but has 4 tokens'],
  ])('of scale %i, %j', (scale, refinement, message) => {
    expect(() => Schedule.forPyramid(small).refine(scale, refinement)).toThrow(invalid(message))
  })

  it.each([0, 4, 1.5, Number.NaN])('because there is no scale %d', (scale) => {
    expect(() => Schedule.forPyramid(small).refine(scale, [1])).toThrow(HmarRangeError)
  })

  it('because it is neither a list nor a curve', () => {
    // @ts-expect-error -- no such curve
    expect(() => Schedule.forPyramid(small).refine(2, { curve: 'sine', steps: 2 })).toThrow(
      /curve: .*"cosine"/,
    )
    // @ts-expect-error -- a number
    expect(() => Schedule.forPyramid(small).refine(2, 4)).toThrow(HmarRangeError)
  })
})

describe('options out of their range', () => {
  it.each([Number.POSITIVE_INFINITY, Number.NaN, -1, 1e9])('guidance %d', (scale) => {
    expect(() => schedule.guidance({ scale })).toThrow(HmarRangeError)
    expect(() => schedule.guidance({ masked: scale })).toThrow(HmarRangeError)
    expect(() => schedule.guidance({ masked: { ratio: scale } })).toThrow(HmarRangeError)
    expect(() => schedule.guidance({ nextScale: [0, 0, 0, 0, 0, scale] })).toThrow(HmarRangeError)
  })

  it.each([
    { topK: -1 },
    { topK: 1.5 },
    { topK: 2 ** 40 },
    { topP: 1.01 },
    { topP: -0.1 },
    { minP: 2 },
    { temperature: 0 },
    { temperature: Number.POSITIVE_INFINITY },
    { topP: [0.5, 0.5, 0.5, 0.5, 0.5, 5] },
  ])('%j', (options) => {
    expect(() => schedule.sampling(options)).toThrow(HmarRangeError)
  })

  it('an unknown option, by name', () => {
    // @ts-expect-error -- HMAR's spelling belongs into its files
    expect(() => schedule.sampling({ top_k: 5 })).toThrow('"top_k"')
  })

  it('a list that has not one value a scale', () => {
    expect(() => schedule.sampling({ topK: [1, 2] })).toThrow(invalid('topK has 2 values for 6 scales'))
    expect(() => schedule.guidance({ nextScale: [1] })).toThrow(
      invalid('the guidance has 1 values for 6 scales'),
    )
  })

  it.each([
    [0, 3],
    [3, 2],
    [2, 7],
  ] as const)('an interval from scale %i to %i', (first, last) => {
    expect(() => schedule.guidance({ scales: [first, last] })).toThrow(HmarRangeError)
  })
})

describe('guidance', () => {
  const guidanceOf = (options: Parameters<Schedule['guidance']>[0]) =>
    Schedule.forPyramid([1, 2, 3])
      .refine(3, [4, 5])
      .guidance({ scale: 2, ...options })
      .compile()
      .passes.map(({ guidance }) => guidance)

  it.each([
    ['linear, by default', {}, [0, 1, 2, 2e-6]],
    ['constant', { nextScale: 'constant' }, [2, 2, 2, 2e-6]],
    ['power-cosine', { nextScale: 'power-cosine', power: 2 }, [0, 1 - Math.SQRT1_2, 2, 2e-6]],
    ['a list', { nextScale: [0.5, 0, 1.5] }, [1, 0, 3, 2e-6]],
    ['an interval', { nextScale: 'constant', scales: [2, 2] }, [0, 2, 0, 0]],
    ['another ratio in masked passes', { masked: { ratio: 0.5 } }, [0, 1, 2, 1]],
    ['a value of masked passes', { masked: 0.25 }, [0, 1, 2, 0.25]],
  ] as [string, Parameters<Schedule['guidance']>[0], number[]][])('%s', (_, options, expected) => {
    for (const [index, guidance] of guidanceOf(options).entries())
      expect(guidance).toBeCloseTo(expected[index] as number, 14)
  })
})

describe('sampling', () => {
  it('takes a value a scale, the same for the scale’s masked passes', () => {
    const { passes } = schedule.sampling({ temperature: [1, 0.9, 0.8, 0.7, 0.6, 0.5] }).compile()
    expect(passes.map(({ temperature }) => temperature)).toEqual([
      1, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.7, 0.6, 0.5,
    ])
  })

  it('takes ramps over the scales', () => {
    const { passes } = schedule
      .sampling({
        temperature: { from: 1.5, to: 0.5 },
        topK: { from: 10, to: 1000 },
        topP: { from: 0.1, to: 1 },
      })
      .compile()
    const ofScales = passes.filter(({ kind }) => kind === 'next-scale')
    expect(ofScales.map(({ temperature }) => temperature)).toEqual(
      [1.5, 1.3, 1.1, 0.9, 0.7, 0.5].map((t) => expect.closeTo(t, 14)),
    )
    expect(ofScales.map(({ topK }) => topK)).toEqual([10, 208, 406, 604, 802, 1000])
    expect([ofScales[0], ofScales[5]].map((pass) => pass?.topP)).toEqual([0.1, 1])
    expect(() => schedule.sampling({ topP: { from: 0, to: 2 } })).toThrow(HmarRangeError)
  })

  it('decodes softly only where there are no masked passes', () => {
    const smooth = schedule
      .sampling({ smooth: true })
      .compile()
      .passes.filter((pass) => pass.smooth)
    expect(smooth.map(({ kind, scale }) => [kind, scale])).toEqual([
      ['next-scale', 1],
      ['next-scale', 4],
      ['next-scale', 5],
      ['next-scale', 6],
    ])
  })
})

describe('compiling for a model', () => {
  it('refuses another pyramid', () => {
    expect(() => schedule.compile(d16)).toThrow(
      invalid('it is for another pyramid than the model. Found: sides 1, 2, 3, 4, 6, 8.'),
    )
  })

  it('refuses masked passes of a model that has no branch for them', () => {
    expect(() => schedule.compile({ ...shapes, layout: 'var' })).toThrow(
      invalid('scale 2 has masked passes, for which a model of the layout var has no branch'),
    )
  })
})
