import { PYRAMIDS } from '@hmar/core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Curve } from './curve.js'
import { fnv1a64 } from './fnv.js'
import type { GuidanceOptions } from './guidance.js'
import type { PositionChoice } from './positions/position-choice.js'
import type { Revision } from './revision.js'
import type { SamplingOptions } from './sampling.js'
import { Schedule } from './schedule.js'
import { d16 } from './testing/models.js'

const share = fc.double({ min: 0, max: 1, noNaN: true })

const pyramid = fc
  .uniqueArray(fc.integer({ min: 2, max: 12 }), { minLength: 1, maxLength: 5 })
  .map((sides) => [1, ...sides.toSorted((a, b) => a - b)])

/** Numbers that sum to a total, at least 1 each. */
const parts = (total: number): fc.Arbitrary<number[]> =>
  fc.array(fc.integer({ min: 1, max: total }), { maxLength: 6 }).map((cuts) => {
    const ends = [...new Set([...cuts, total])].toSorted((a, b) => a - b)
    return ends.map((end, index) => end - (ends[index - 1] ?? 0))
  })

const curve = (tokens: number): fc.Arbitrary<Curve> =>
  fc.record(
    {
      curve: fc.constantFrom(...Curve.shape.curve.options),
      steps: fc.integer({ min: 1, max: Math.min(tokens, 9) }),
      exponent: fc.double({ min: 0.1, max: 10, noNaN: true }),
    },
    { requiredKeys: ['curve', 'steps'] },
  )

const positions: fc.Arbitrary<PositionChoice> = fc.oneof(
  fc.constantFrom<PositionChoice>({ kind: 'least-confident' }, { kind: 'random' }, { kind: 'halton' }),
  fc.record({
    kind: fc.constant('gumbel' as const),
    temperature: fc.double({ min: 0, max: 9, noNaN: true }),
  }),
  fc.record({
    kind: fc.constant('locality' as const),
    repulsion: fc.double({ min: 0, max: 4, noNaN: true }),
  }),
)

const revision: fc.Arbitrary<Revision> = fc.oneof(fc.constant([]), fc.record({ share }))

const guidance: fc.Arbitrary<GuidanceOptions> = fc.record(
  {
    nextScale: fc.constantFrom('linear' as const, 'constant' as const, 'power-cosine' as const),
    scale: fc.double({ min: 0, max: 10, noNaN: true }),
    power: fc.double({ min: 0.1, max: 10, noNaN: true }),
    masked: fc.oneof(share, fc.record({ ratio: share })),
  },
  { requiredKeys: [] },
)

const perScale = (min: number, max: number) => {
  const value = fc.double({ min, max, noNaN: true })
  return fc.oneof(value, fc.record({ from: value, to: value }))
}

const sampling: fc.Arbitrary<SamplingOptions> = fc.record(
  {
    temperature: perScale(0.001, 10),
    topK: fc.integer({ min: 0, max: 5000 }),
    topP: perScale(0, 1),
    minP: perScale(0, 1),
    smooth: fc.boolean(),
  },
  { requiredKeys: [] },
)

/** Any schedule that there can be, without functions of the caller's own. */
const schedules: fc.Arbitrary<Schedule> = pyramid.chain((sides) =>
  fc
    .record({
      scales: fc.tuple(
        ...sides.map((side) =>
          fc.tuple(fc.oneof(parts(side * side), curve(side * side)), revision, positions),
        ),
      ),
      guidance,
      sampling,
    })
    .map(({ scales, guidance, sampling }) =>
      scales.reduce(
        (schedule, [refinement, revision, choice], index) =>
          schedule
            .refine(index + 1, refinement)
            .revise(index + 1, revision)
            .positions(choice, index + 1),
        Schedule.forPyramid(sides).guidance(guidance).sampling(sampling),
      ),
    ),
)

describe('every schedule', () => {
  it('commits each token of a scale once more than it is revised', () => {
    fc.assert(
      fc.property(schedules, (schedule) => {
        const { pyramid, passes } = schedule.compile()
        for (const [index, side] of pyramid.entries()) {
          let open = side * side
          for (const { commits, revises = 0 } of passes.filter(({ scale }) => scale === index + 1)) {
            expect(revises).toBeLessThanOrEqual(side * side - open)
            open += revises - commits
            expect(open).toBeGreaterThanOrEqual(0)
            expect(commits).toBeGreaterThanOrEqual(1)
          }
          expect(open).toBe(0)
        }
      }),
    )
  })

  it('gives passes that the engine takes', () => {
    fc.assert(
      fc.property(schedules, (schedule) => {
        const { passes } = schedule.compile()
        for (const [index, pass] of passes.entries()) {
          const first = passes[index - 1]?.scale !== pass.scale
          expect(pass.kind).toBe(first ? 'next-scale' : 'masked')
          expect(pass.guidance).toBeGreaterThanOrEqual(0)
          expect(pass.temperature).toBeGreaterThanOrEqual(0.001)
          expect(Number.isInteger(pass.topK)).toBe(true)
          for (const filter of [pass.topP, pass.minP]) expect(filter >= 0 && filter <= 1).toBe(true)
          if (pass.smooth) expect(passes.filter(({ scale }) => scale === pass.scale)).toHaveLength(1)
          if (pass.positions?.kind === 'order')
            expect(pass.positions.order.toSorted((a, b) => a - b)).toEqual([...Array(pass.side ** 2).keys()])
        }
      }),
    )
  })

  it('comes back from JSON', () => {
    fc.assert(
      fc.property(schedules, (schedule) => {
        const back = Schedule.fromJSON(JSON.parse(JSON.stringify(schedule)))
        expect(back.compile().hash).toBe(schedule.compile().hash)
        expect(JSON.stringify(back)).toBe(JSON.stringify(schedule))
      }),
    )
  })

  it('differs from another just where their plans do', () => {
    fc.assert(
      fc.property(schedules, schedules, (a, b) => {
        expect(a.diff(a).differences).toEqual([])
        expect(a.diff(b).differences.length === 0).toBe(a.compile().hash === b.compile().hash)
        const swapped = b
          .diff(a)
          .differences.map(({ from, to, ...rest }) => ({ ...rest, from: to, to: from }))
        expect(swapped).toEqual(a.diff(b).differences)
      }),
    )
  })

  it('explains itself with a line a scale', () => {
    fc.assert(
      fc.property(schedules, (schedule) => {
        expect(schedule.explain().split('\n')).toHaveLength(2 + schedule.pyramid.length)
      }),
    )
  })

  it('costs more with another pass, and the same with other positions', () => {
    fc.assert(
      fc.property(schedules, positions, (schedule, choice) => {
        const model = { ...d16, pyramid: [...schedule.pyramid] }
        const cost = schedule.cost(model)
        expect(schedule.positions(choice).cost(model)).toEqual(cost)
        const last = schedule.pyramid.length
        const longer = schedule.revise(
          last,
          [...new Array(8).fill(0), 1].slice(9 - (schedule.commits.at(-1)?.length ?? 0)),
        )
        expect(longer.cost(model).flops).toBeGreaterThan(cost.flops)
        expect(longer.cost(model).passes).toBe(cost.passes + 1)
      }),
    )
  })
})

describe('platforms', () => {
  const sides = [...new Set(Object.values(PYRAMIDS).flat())]
  const plans = Curve.shape.curve.options.flatMap((curve) =>
    sides.flatMap((side) =>
      [1, 2, 3, 5, 8, 12, 16, 32]
        .filter((steps) => steps <= side * side && side > 1)
        .map((steps) => Schedule.forPyramid([1, side]).refine(2, { curve, steps }).commits[1]),
    ),
  )

  it('give the same counts and guidance, to the last bit', () => {
    expect(fnv1a64(JSON.stringify(plans))).toBe('8f1dc13fb2739036')
    const guided = Schedule.preset('d16').guidance({ nextScale: 'power-cosine', scale: 3.7, power: 2.75 })
    expect(guided.compile().hash).toBe('801971e5323e024f')
  })
})
