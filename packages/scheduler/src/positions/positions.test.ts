import { HmarRangeError } from '@hmar/core'
import { describe, expect, it } from 'vitest'
import { Schedule } from '../schedule.js'
import { haltonOrder } from './halton.js'
import { localityOrder } from './locality.js'
import type { PositionChoice } from './position-choice.js'

const schedule = Schedule.forPyramid([1, 2, 3]).refine(2, [1, 3]).refine(3, [3, 3, 3])
const orders = (composed: Schedule) => composed.compile().passes.map(({ positions }) => positions)
const invalid = (message: string) =>
  expect.objectContaining({ code: 'SCHEDULE_INVALID', message: expect.stringContaining(message) })
const confidence = ({ confidence }: { confidence: Float32Array }) => confidence

describe('Schedule.positions', () => {
  it('says nothing in the plan where the least confident stay open', () => {
    const same = schedule.positions({ kind: 'random' }).positions({ kind: 'least-confident' })
    expect(same.compile().hash).toBe(schedule.compile().hash)
    expect(orders(same)).toEqual(new Array(6).fill(undefined))
  })

  it('lets Gumbel noise fade over the passes of a scale', () => {
    const gumbel = (temperature: number) => ({ kind: 'gumbel', temperature })
    expect(orders(schedule.positions({ kind: 'gumbel', temperature: 3 }))).toEqual([
      undefined,
      gumbel(1.5),
      undefined,
      gumbel(2),
      gumbel(1),
      undefined,
    ])
    expect(orders(schedule.positions({ kind: 'gumbel' }))[1]).toEqual(gumbel(2.25))
  })

  it('works fixed orders out', () => {
    expect(orders(schedule.positions({ kind: 'halton' }))[4]).toEqual({
      kind: 'order',
      order: haltonOrder(3),
    })
    expect(orders(schedule.positions({ kind: 'locality', repulsion: 1.5 }))[3]).toEqual({
      kind: 'order',
      order: localityOrder(3, [3, 3, 3], 1.5),
    })
  })

  it('may be for one scale', () => {
    const mixed = schedule.positions({ kind: 'random' }).positions({ kind: 'order', order: [3, 2, 1, 0] }, 2)
    expect(orders(mixed).map((order) => order?.kind)).toEqual([
      undefined,
      'order',
      undefined,
      'random',
      'random',
      undefined,
    ])
    expect(orders(mixed.positions({ kind: 'least-confident' }))).toEqual(orders(schedule))
  })

  it.each([
    [{ kind: 'order', order: [0, 1, 2] }, 2, 'the order of positions at scale 2'],
    [{ kind: 'order', order: [0, 1, 2, 2] }, 2, 'the order of positions at scale 2'],
    [{ kind: 'order', order: [0, 1, 2, 4] }, 2, 'the order of positions at scale 2'],
    [{ kind: 'order', order: [0, 1, 2, 0.5] }, 2, 'the order of positions at scale 2'],
  ] as [PositionChoice, number, string][])('refuses %j at scale %i', (choice, scale, message) => {
    expect(() => schedule.positions(choice, scale)).toThrow(invalid(message))
  })

  it.each([
    { kind: 'gumbel', temperature: -1 },
    { kind: 'gumbel', temperature: Number.POSITIVE_INFINITY },
    { kind: 'locality', repulsion: -1 },
    { kind: 'custom', name: 'none' },
    { kind: 'custom', name: '', score: confidence },
    { kind: 'spiral' },
    'halton',
  ])('refuses %j', (choice) => {
    expect(() => schedule.positions(choice as PositionChoice)).toThrow(HmarRangeError)
  })

  it('refuses a scale that there is not, and orders by locality of very large maps', () => {
    expect(() => schedule.positions({ kind: 'halton' }, 4)).toThrow(HmarRangeError)
    expect(() => Schedule.forPyramid([1, 65]).positions({ kind: 'locality' })).toThrow(
      invalid('scale 2 is too large for an order by locality'),
    )
  })
})

describe('functions of the caller’s own', () => {
  const own = schedule.positions({ kind: 'custom', name: 'own', score: confidence }, 3)

  it('are named in the plan', () => {
    expect(orders(own)[3]).toEqual({ kind: 'custom', name: 'own' })
    expect(own.compile().functions).toEqual(['own'])
    expect(schedule.compile().functions).toEqual([])
  })

  it('stay through other changes, and go when nothing asks for them', () => {
    expect(own.guidance({ scale: 2 }).refine(2, [4]).compile().functions).toEqual(['own'])
    expect(own.positions({ kind: 'random' }, 3).compile().functions).toEqual([])
  })

  it('are stored by name, and given back when read', () => {
    const stored = JSON.parse(JSON.stringify(own))
    expect(Schedule.fromJSON(stored, { own: confidence }).compile().hash).toBe(own.compile().hash)
    expect(() => Schedule.fromJSON(stored)).toThrow(invalid('by a function "own", which is not there'))
    expect(() => Schedule.fromJSON(stored, JSON.parse('{"toString": 1}'))).toThrow(invalid('"own"'))
  })

  it('have a name each', () => {
    const other = { kind: 'custom', name: 'own', score: () => [] } as const
    expect(() => own.positions(other, 2)).toThrow(invalid('two functions by the name "own"'))
    expect(own.positions({ ...other, name: 'other' }, 2).compile().functions).toEqual(['other', 'own'])
    expect(own.positions(other, 3).compile().functions).toEqual(['own'])
    expect(own.positions(other).compile().functions).toEqual(['own'])
  })
})
