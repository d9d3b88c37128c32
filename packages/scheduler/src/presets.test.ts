import { PYRAMIDS, pyramidTokens } from '@hmar/core'
import { describe, expect, it } from 'vitest'
import { type PresetName, presets } from './presets.js'
import { Schedule } from './schedule.js'
import { d16, shapes, varD16 } from './testing/models.js'

const passes = (schedule: Schedule) => schedule.compile().passes
const masked = (schedule: Schedule) => passes(schedule).filter(({ kind }) => kind === 'masked')

describe('presets', () => {
  // §4: cfg, top-k, top-p.
  it.each([
    ['d16', 'sample', 1.7, 1000, 0.99],
    ['d16', 'evaluate', 1.7, 1000, 0.99],
    ['d20', 'sample', 1.9, 950, 0.99],
    ['d20', 'evaluate', 1.9, 950, 0.99],
    ['d24', 'sample', 2.1, 900, 0.99],
    ['d24', 'evaluate', 2.1, 900, 0.99],
    ['d30', 'sample', 1.7, 1000, 0.99],
    ['d30', 'evaluate', 1.6, 650, 0.99],
  ] as const)('%s to %s', (name, use, guidance, topK, topP) => {
    const schedule = Schedule.preset(name, use)
    expect(passes(schedule).at(-1)).toMatchObject({ kind: 'next-scale', guidance, topK, topP })
    expect(masked(schedule)).toHaveLength(4)
    for (const pass of masked(schedule)) expect(pass.guidance).toBeCloseTo(guidance * 1e-6, 12)
  })

  it('take the lists of the specification at 256 and 512 pixels', () => {
    expect(Schedule.preset('d16').commits).toEqual([
      [1],
      [1, 3],
      [1, 1, 2, 5],
      [16],
      [25],
      [36],
      [64],
      [100],
      [169],
      [256],
    ])
    expect(Schedule.preset('d16', 'sample', PYRAMIDS[512]).commits).toEqual([
      [1],
      [1, 3],
      [1, 1, 2, 5],
      [5, 11],
      [36],
      [81],
      [169],
      [324],
      [576],
      [1024],
    ])
  })

  it.each(Object.keys(presets) as PresetName[])('%s commit every token of every pyramid', (name) => {
    for (const pyramid of Object.values(PYRAMIDS)) {
      const committed = passes(Schedule.preset(name, 'evaluate', pyramid)).map(({ commits }) => commits)
      expect(committed.reduce((sum, count) => sum + count)).toBe(pyramidTokens(pyramid))
    }
  })

  it('of VAR have no masked passes', () => {
    expect(masked(Schedule.preset('var', 'evaluate'))).toEqual([])
    expect(passes(Schedule.preset('var', 'evaluate')).at(-1)).toMatchObject({
      guidance: 1.5,
      topK: 900,
      topP: 0.96,
    })
  })

  it('that do not exist are refused', () => {
    // @ts-expect-error -- not a preset
    expect(() => Schedule.preset('d17')).toThrow(
      'There is no preset d17 to sample. Expected: d16, d20, d24, d30, var',
    )
  })
})

describe('Schedule.default', () => {
  it('takes what the configuration says', () => {
    const schedule = Schedule.default(shapes)
    expect(schedule.commits).toEqual(shapes.sampling?.schedule)
    expect(passes(schedule).at(-1)).toMatchObject({ guidance: 1.5, topK: 300, topP: 0.95 })
  })

  it('takes the depth’s preset where the configuration is silent', () => {
    expect(Schedule.default({ ...d16, depth: 24 }).compile().hash).toBe(Schedule.preset('d24').compile().hash)
    expect(passes(Schedule.default({ ...d16, sampling: { topK: 5 } })).at(-1)).toMatchObject({
      guidance: 1.7,
      topK: 5,
    })
  })

  it('fits layouts without a masked branch', () => {
    for (const layout of ['var', 'next-scale'] as const) {
      const model = { ...shapes, layout }
      expect(masked(Schedule.default(model))).toEqual([])
      expect(() => Schedule.default(model).compile(model)).not.toThrow()
    }
    expect(Schedule.default(varD16).compile().hash).toBe(Schedule.preset('var').compile().hash)
  })

  it('is plain for a model that nothing is known of', () => {
    const { sampling, ...unknown } = shapes
    expect(sampling).toBeDefined()
    expect(passes(Schedule.default(unknown))).toEqual(passes(Schedule.forPyramid(shapes.pyramid)))
  })
})
