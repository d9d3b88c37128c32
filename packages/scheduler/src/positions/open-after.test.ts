import type { Pass, PositionOrder } from '@hmar/core'
import { describe, expect, it } from 'vitest'
import { Schedule } from '../schedule.js'
import type { PassState } from './pass-state.js'
import type { PositionChoice } from './position-choice.js'
import { scorePositions } from './score.js'

const side = 4
const schedule = Schedule.forPyramid([1, 2, side]).refine(3, [4, 4, 8])
const uneven = Float32Array.from({ length: 16 }, (_, position) => ((position * 7) % 16) / 16 + 0.01)

/** After the next-scale pass of scale 3. */
const state = (choice: PositionChoice, changes: Partial<PassState> = {}) => {
  const plan = schedule.positions(choice).compile()
  const index = 2
  const whole: PassState = {
    pass: plan.passes[index] as Pass,
    index,
    image: 0,
    seed: 1n,
    tokens: new Int32Array(16),
    confidence: uneven,
    logits: new Float32Array(),
    open: new Uint8Array(16).fill(1),
    ...changes,
  }
  return { plan, state: whole }
}
const committed = (choice: PositionChoice, changes: Partial<PassState> = {}) => {
  const { plan, state: known } = state(choice, changes)
  const open = plan.openAfter(known)
  return [...open.keys()].filter((position) => known.open[position] === 1 && open[position] === 0)
}

describe('positions that a pass commits', () => {
  it('are the most confident', () => {
    const order = [...uneven.keys()].sort((a, b) => uneven[b]! - uneven[a]!)
    expect(committed({ kind: 'least-confident' })).toEqual(order.slice(0, 4).sort((a, b) => a - b))
  })

  it('are the higher among equals', () => {
    expect(committed({ kind: 'least-confident' }, { confidence: new Float32Array(16).fill(1) })).toEqual([
      12, 13, 14, 15,
    ])
  })

  it('are the first of an order', () => {
    expect(committed({ kind: 'halton' })).toEqual([1, 6, 9, 12])
  })

  it('are only open ones, and none where fewer are open than should stay', () => {
    const open = new Uint8Array(16).fill(1)
    open[12] = 0
    expect(committed({ kind: 'halton' }, { open })).toEqual([1, 6, 9])
    const few = Uint8Array.from(open, (_, position) => Number(position < 5))
    expect(committed({ kind: 'random' }, { open: few })).toEqual([])
  })

  it('are the confident ones without noise, and random ones by noise alone', () => {
    expect(committed({ kind: 'gumbel', temperature: 0 })).toEqual(committed({ kind: 'least-confident' }))
    const confidence = new Float32Array(16).fill(0.5)
    const seeds = Array.from({ length: 20 }, (_, seed) => BigInt(seed))
    const loud = seeds.map((seed) => committed({ kind: 'gumbel', temperature: 3 }, { seed, confidence }))
    expect(loud).toEqual(seeds.map((seed) => committed({ kind: 'random' }, { seed })))
    expect(new Set(loud.map(String)).size).toBeGreaterThan(15)
  })
})

/** χ² of counts against the same chance for each. */
const chiSquared = (counts: readonly number[], chances: readonly number[]) => {
  const total = counts.reduce((sum, count) => sum + count, 0)
  return counts.reduce((sum, count, i) => sum + (count - total * chances[i]!) ** 2 / (total * chances[i]!), 0)
}

describe('chances', () => {
  const draws = 4000
  const counts = (choice: PositionOrder, confidence: Float32Array, count: number) => {
    const counts = new Array<number>(16).fill(0)
    for (let image = 0; image < draws; image++) {
      const known = { confidence, seed: 3n, index: 2, image }
      const scores = scorePositions(choice as Exclude<PositionOrder, { kind: 'custom' }>, known)
      const order = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]!)
      for (const position of order.slice(0, count)) counts[position]! += 1
    }
    return counts
  }

  it('of random positions are equal', () => {
    // 44.3 is exceeded once in 10,000 by 15 degrees of freedom.
    expect(chiSquared(counts({ kind: 'random' }, uneven, 1), new Array(16).fill(1 / 16))).toBeLessThan(44.3)
    expect(chiSquared(counts({ kind: 'random' }, uneven, 5), new Array(16).fill(1 / 16))).toBeLessThan(44.3)
  })

  it.each([0.5, 1, 2])(
    'of the first position by Gumbel noise are p^(1/τ) over their sum, τ = %d',
    (temperature) => {
      const weights = [...uneven].map((p) => p ** (1 / temperature))
      const total = weights.reduce((sum, weight) => sum + weight, 0)
      const found = counts({ kind: 'gumbel', temperature }, uneven, 1)
      // Rare positions together, as χ² asks for.
      const rare = (at: number) => weights[at]! / total < 8 / draws
      const cells = [...Array(16).keys()].filter((at) => !rare(at))
      const pooled = [...Array(16).keys()].filter(rare)
      const sum = (values: readonly number[], over: number) =>
        pooled.reduce((sum, at) => sum + values[at]!, 0) / over
      const chances = cells.map((at) => weights[at]! / total)
      const statistic = chiSquared(
        [...cells.map((at) => found[at]!), ...(pooled.length > 0 ? [sum(found, 1)] : [])],
        [...chances, ...(pooled.length > 0 ? [sum(weights, total)] : [])],
      )
      expect(statistic).toBeLessThan(44.3)
    },
  )
})

describe('a function of the caller’s own', () => {
  const entropy = ({ tokens }: PassState) => Array.from(tokens, (token) => -token)
  const tokens = Int32Array.from({ length: 16 }, (_, position) => (position * 5) % 16)

  it('chooses by its scores', () => {
    const own = { kind: 'custom', name: 'small tokens', score: entropy } as const
    expect(committed(own, { tokens }).map((position) => tokens[position])).toEqual(
      expect.arrayContaining([0, 1, 2, 3]),
    )
  })

  it('may start from a built-in order', () => {
    const own = {
      kind: 'custom',
      name: 'confident and spread',
      score: (known: PassState) =>
        scorePositions({ kind: 'least-confident' }, known).map(
          (score, position) => score + Number(position === 3),
        ),
    } as const
    expect(committed(own)).toContain(3)
  })

  it.each([
    [() => [1, 2, 3], 'Found: 3 numbers'],
    [() => new Array(16).fill(Number.NaN), 'Found: NaN at position 0'],
    [() => new Float32Array(16).fill(Number.NaN, 5), 'Found: NaN at position 5'],
  ])('is refused with scores that are none: %s', (score, message) => {
    expect(() => committed({ kind: 'custom', name: 'bad', score })).toThrow(message)
  })
})
