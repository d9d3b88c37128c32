import { describe, expect, it } from 'vitest'
import { Schedule } from './schedule.js'
import { d16, shapes } from './testing/models.js'

const schedule = Schedule.default(shapes)
const composed = schedule
  .refine(5, { curve: 'cosine', steps: 4 })
  .positions({ kind: 'gumbel' })
  .positions({ kind: 'halton' }, 5)
  .revise(5, { share: 0.2 })
  .sampling({ temperature: { from: 1.2, to: 0.9 } })

describe('explain', () => {
  it('is a line a scale, of what is used alone', () => {
    expect(schedule.explain().split('\n')).toEqual([
      `9 passes over 6 scales, 3 of them masked; plan ${schedule.compile().hash}`,
      'scale  side  passes    commits   positions  guidance  when masked  top-k  top-p',
      '    1     1       1          1           –         –            –    300   0.95',
      '    2     2       2      1 + 3  confidence       0.3    0.0000015    300   0.95',
      '    3     3       3  2 + 3 + 4  confidence       0.6    0.0000015    300   0.95',
      '    4     4       1         16           –       0.9            –    300   0.95',
      '    5     6       1         36           –       1.2            –    300   0.95',
      '    6     8       1         64           –       1.5            –    300   0.95',
    ])
  })

  it('names curves, orders and revision', () => {
    const lines = composed.explain().split('\n')
    expect(lines[4]).toBe(
      '    3     3       3                 2 + 3 + 4              –  gumbel 4.5       0.6    0.0000015         1.08    300   0.95',
    )
    expect(lines[6]).toBe(
      '    5     6       4  3 + 8 + 14 + 17 (cosine)  0 + 0 + 2 + 4      halton       1.2    0.0000015         0.96    300   0.95',
    )
  })

  it('says what it costs on a model', () => {
    const lines = Schedule.preset('d16').explain(d16).split('\n')
    expect(lines[11]).toMatch(/ 37\.3%$/)
    expect(lines[12]).toBe('586 GFLOP and 12100 MB of weights in all')
    expect(() => schedule.explain(d16)).toThrow('it is for another pyramid than the model')
  })
})

describe('diff', () => {
  it('lists what another schedule does differently', () => {
    const other = schedule.refine(4, [6, 10]).guidance({ masked: 0.5 }).positions({ kind: 'random' }, 3)
    expect(schedule.diff(other).differences).toEqual([
      {
        scale: 2,
        property: 'guidance',
        from: '0.30000000000000004, 0.0000015',
        to: '0.30000000000000004, 0.5',
      },
      { scale: 3, property: 'positions', from: 'least-confident', to: 'random' },
      {
        scale: 3,
        property: 'guidance',
        from: '0.6000000000000001, 0.0000015, 0.0000015',
        to: '0.6000000000000001, 0.5, 0.5',
      },
      { scale: 4, property: 'commits', from: '16', to: '6, 10' },
      { scale: 4, property: 'positions', from: '–', to: 'least-confident' },
      { scale: 4, property: 'guidance', from: '0.8999999999999999', to: '0.8999999999999999, 0.5' },
    ])
  })

  it('does not mind how a schedule is written', () => {
    expect(
      schedule.refine(3, [3, 3, 3]).diff(schedule.refine(3, { curve: 'uniform', steps: 3 })).differences,
    ).toEqual([])
  })

  it('lists all of a scale that only one of them has', () => {
    const { differences } = Schedule.forPyramid([1, 2]).diff(Schedule.forPyramid([1, 2, 3]))
    expect(differences.map(({ property, from, to }) => [property, from, to])).toContainEqual([
      'commits',
      '–',
      '9',
    ])
    expect(differences.every(({ scale, from }) => (scale === 3 ? from === '–' : true))).toBe(true)
  })

  it('prints as a table', () => {
    expect(String(schedule.diff(schedule))).toBe('no difference')
    const lines = String(schedule.diff(composed)).split('\n')
    expect(lines[0]).toMatch(/^scale +property +from +to$/)
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(130)
  })
})
