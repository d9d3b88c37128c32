import { PYRAMIDS } from '@hmar/core'
import { describe, expect, it, vi } from 'vitest'
import { stringify } from 'yaml'
import { Schedule } from './schedule.js'
import { d16, shapes } from './testing/models.js'

const hash = (schedule: Schedule) => schedule.compile().hash
const invalid = (message: string) =>
  expect.objectContaining({ code: 'SCHEDULE_INVALID', message: expect.stringContaining(message) })

const schedules = {
  preset: Schedule.preset('d30', 'evaluate'),
  curves: Schedule.forPyramid(PYRAMIDS[1024])
    .refine(9, { curve: 'power', steps: 5, exponent: 3 })
    .refine(14, { curve: 'arccos', steps: 32 })
    .guidance({ nextScale: 'power-cosine', scale: 2.5, power: 1.75, scales: [3, 12], masked: 0.3 })
    .sampling({ temperature: 0.9, minP: 0.01, smooth: true }),
  lists: Schedule.forPyramid([1, 2, 3])
    .refine(2, [1, 3])
    .guidance({ nextScale: [0, 0.5, 1], scale: 1.7 })
    .sampling({ topK: [1, 2, 3], topP: [0.1, 0.2, 0.3] }),
  positions: Schedule.forPyramid([1, 2, 3])
    .refine(2, [1, 3])
    .refine(3, [2, 3, 4])
    .revise(2, [1, 2])
    .revise(3, { share: 0.25 })
    .positions({ kind: 'gumbel', temperature: 2 })
    .positions({ kind: 'order', order: [8, 7, 6, 5, 4, 3, 2, 1, 0] }, 3)
    .sampling({ temperature: { from: 1.2, to: 0.8 } }),
}

describe('a schedule as JSON', () => {
  it.each(Object.entries(schedules))('comes back as it was: %s', (_, schedule) => {
    const back = Schedule.fromJSON(JSON.parse(JSON.stringify(schedule)))
    expect(back.toJSON()).toEqual(schedule.toJSON())
    expect(hash(back)).toBe(hash(schedule))
    expect(hash(Schedule.parse(JSON.stringify(schedule)))).toBe(hash(schedule))
    expect(hash(Schedule.parse(stringify(schedule.toJSON())))).toBe(hash(schedule))
  })

  it('may leave out what is at its default', () => {
    const schedule = Schedule.fromJSON({ version: 1, pyramid: [1, 2], refinements: [[1], [1, 3]] })
    expect(hash(schedule)).toBe(hash(Schedule.forPyramid([1, 2]).refine(2, [1, 3])))
  })

  it.each([
    [{ version: 2, pyramid: [1, 2], refinements: [[1], [4]] }, 'version: '],
    [{ version: 1, pyramid: [1, 2], refinements: [[1], [4]], seed: 3 }, '"seed"'],
    [{ version: 1, pyramid: [1, 2], refinements: [[1], [1, 2]] }, 'scale 2 commits 3 tokens but has 4'],
    [{ version: 1, pyramid: [1, 2], refinements: [[1]] }, 'Found: refinements of 1 scales'],
    [{ version: 1, pyramid: [1, 1], refinements: [[1], [1]] }, 'scale 2 has side 1'],
    [
      { version: 1, pyramid: [1, 2], refinements: [[1], [1, 3]], positions: { kind: 'spiral' } },
      'positions: kind: ',
    ],
    [
      { version: 1, pyramid: [1, 2], refinements: [[1], [1, 3]], revisions: [[]] },
      'Found: revisions of 1 scales',
    ],
    [
      { version: 1, pyramid: [1, 512], refinements: [[1], { curve: 'cosine', steps: 262_144 }] },
      'too many passes',
    ],
    [
      { version: 1, pyramid: [1, 2], refinements: [[1], [4]], guidance: { scales: [1, 9] } },
      'The last guided scale is out of range',
    ],
    [null, 'expected object'],
  ])('is refused: %j', (value, message) => {
    expect(() => Schedule.fromJSON(value)).toThrow(invalid(message))
  })
})

describe('a sampling configuration of HMAR’s', () => {
  it('reads as the preset that it spells out', () => {
    const yaml = 'depth: 30\ncfg: 1.6\ntop_k: 650\ntop_p: 0.99\nmore_smooth: false\nmask: true\n'
    expect(hash(Schedule.parse(yaml))).toBe(hash(Schedule.preset('d30', 'evaluate')))
    expect(hash(Schedule.parse(yaml, { ...d16, depth: 30 }))).toBe(hash(Schedule.preset('d30', 'evaluate')))
  })

  it.each([
    ['top_k: 1.5', 'top_k'],
    ['top_k: -1', 'top_k'],
    ['top_p: 2', 'top_p'],
    ['cfg: 1e308', 'cfg'],
    ['cfg: .inf', 'cfg'],
  ])('is refused with %s', (line, key) => {
    expect(() => Schedule.parse(`depth: 16\n${line}`)).toThrow(invalid(`${key}: `))
  })

  it('does not print warnings about what it is given', () => {
    const warn = vi.spyOn(process, 'emitWarning').mockReturnValue()
    expect(() => Schedule.parse('depth: !!js 16\ncfg: *a')).toThrow(invalid(''))
    expect(warn).not.toHaveBeenCalled()
    warn.mockRestore()
  })

  it('leaves to the model what it does not say', () => {
    const schedule = Schedule.parse('cfg: 3', shapes)
    expect(schedule.commits).toEqual(shapes.sampling?.schedule)
    expect(schedule.compile(shapes).passes.at(-1)).toMatchObject({ guidance: 3, topK: 300, topP: 0.95 })
  })

  it('turns masked passes off, and on, and gives lists for them', () => {
    const count = (text: string, model = shapes) => Schedule.parse(text, model).compile(model).passes.length
    expect(count('mask: false')).toBe(6)
    expect(count('mask: true')).toBe(9)
    expect(count('mask_schedule: [[1], [1, 1, 2], [9], [16], [36], [64]]')).toBe(8)
    expect(count('mask: true\nmask_schedule: [[1], [4], [9], [16], [36], [4, 60]]')).toBe(7)
  })

  it('decodes softly', () => {
    expect(Schedule.parse('more_smooth: true', shapes).compile().passes.at(-1)?.smooth).toBe(true)
  })

  const { sampling: _, ...unknown } = shapes
  it.each([
    ['depth: 16\ncgf: 2', '"cgf"', undefined],
    ['depth: 16\ncfg: .inf', 'cfg: ', undefined],
    ['depth: 16\ncfg: "1.7"', 'cfg: ', undefined],
    ['depth: 16\nmask: 1', 'mask: ', undefined],
    ['cfg: 2', 'Found: no depth.', undefined],
    ['depth: 17', 'Found: depth 17.', undefined],
    ['depth: 16', 'Found: depth 16. Expected: depth 6.', shapes],
    ['mask: false\nmask_schedule: [[1]]', 'mask is false, but there is a mask_schedule', shapes],
    ['mask: true', 'there are no default lists for the pyramid 1, 2, 3, 4, 6, 8', unknown],
    ['mask_schedule: [[1], [1, 2], [9], [16], [36], [64]]', 'scale 2 commits 3 tokens but has 4', shapes],
    ['depth: [16', 'neither YAML nor JSON', undefined],
    ['depth: 16\ndepth: 20', 'neither YAML nor JSON', undefined],
    ['', 'expected object', undefined],
  ])('is refused: %j', (text, message, model) => {
    expect(() => Schedule.parse(text, model)).toThrow(invalid(message))
  })

  it('cannot blow up by aliases', () => {
    const levels = Array.from({ length: 12 }, (_, level) =>
      level === 0
        ? 'a0: &a0 [x, x, x, x, x, x, x, x]'
        : `a${level}: &a${level} [${`*a${level - 1}, `.repeat(8)}]`,
    )
    expect(() => Schedule.parse(levels.join('\n'))).toThrow(invalid('alias'))
  })
})
