import { expect, it } from 'vitest'

import type { BenchCase } from './cases.js'
import type { Measurement } from './measurement.js'
import { summarizeCase, withComparisons } from './results.js'

const ours: BenchCase = { device: 'cpu', model: 'd16', engine: 'hmar', dtype: 'f32', batch: 2 }
const theirs: BenchCase = { ...ours, engine: 'pytorch' }

const facts = {
  plan: [
    { kind: 'next-scale' as const, scale: 1 },
    { kind: 'masked' as const, scale: 1 },
  ],
  passFlops: 6e9,
  decodeFlops: 2e9,
}
const runs: Measurement[] = [
  {
    milliseconds: [100, 140],
    decodeMilliseconds: [40, 42],
    passMilliseconds: [
      [20, 40],
      [20, 60],
    ],
    loadMilliseconds: 900,
    passes: 2,
    tokens: 10,
    peakMemoryBytes: 5,
    weightBytes: 2,
    facts,
  },
  {
    milliseconds: [120],
    decodeMilliseconds: [60],
    passMilliseconds: [[10, 50]],
    loadMilliseconds: 700,
    passes: 2,
    tokens: 10,
    peakMemoryBytes: 7,
    facts,
  },
]
const slow: Measurement[] = [
  { milliseconds: [200, 240, 280], decodeMilliseconds: [90], passes: 2, tokens: 10, peakMemoryBytes: 9 },
]

it('takes medians over all processes, and the largest memory', () => {
  const result = summarizeCase(ours, runs)
  expect(result.time).toMatchObject({ median: 120, min: 100, max: 140, count: 3 })
  expect(result.passTimes).toEqual([
    { kind: 'next-scale', scale: 1, milliseconds: 20 },
    { kind: 'masked', scale: 1, milliseconds: 50 },
  ])
  expect(result.loadMilliseconds).toBe(800)
  expect(result.peakMemoryBytes).toBe(7)
  expect(result.weightBytes).toBe(2)
  expect(result.tokensPerSecond).toBeCloseTo(10 / 0.12)
  expect(result.passGigaflops).toBeCloseTo(6 / 0.078)
  expect(result.decodeGigaflops).toBeCloseTo(2 / 0.042)
})

it('says of PyTorch only what it tells', () => {
  const result = summarizeCase(theirs, slow)
  expect(result.name).toBe('PyTorch f32')
  expect(result).not.toHaveProperty('passTimes')
  expect(result).not.toHaveProperty('passGigaflops')
})

it('compares with PyTorch on the same model and batch only', () => {
  const one: BenchCase = { ...ours, batch: 1 }
  const [first, second] = withComparisons([
    summarizeCase(ours, runs),
    summarizeCase(one, runs),
    summarizeCase(theirs, slow),
  ])
  expect(first).toHaveProperty('speedup', 2)
  expect(second).not.toHaveProperty('speedup')
})

it('gives PyTorch the floor of the same work, on the same device only', () => {
  const floor = { total: 30, conditioning: 1, passes: [4, 5], decoding: 20 }
  const gpu: BenchCase = { ...ours, device: 'cuda', dtype: 'bf16' }
  const graph: BenchCase = { ...gpu, engine: 'pytorch-graph' }
  const [mine, peer, elsewhere] = withComparisons([
    summarizeCase(gpu, [
      { ...runs[0]!, hostMilliseconds: [101, 141, 200], facts: { ...facts, floor }, operations: [] },
    ]),
    summarizeCase(graph, slow),
    summarizeCase(theirs, slow),
  ])
  expect(mine).toMatchObject({ floor: 30, decodeFloor: 20, graphSpeedup: 2, hostTime: { median: 141 } })
  expect(mine).toMatchObject({ passTimes: [{ floor: 4 }, { floor: 5 }] })
  expect(mine).not.toHaveProperty('speedup')
  expect(peer).toMatchObject({ floor: 30, graphSpeedup: 1 })
  expect(elsewhere).not.toHaveProperty('floor')
})

it('passes over what was skipped', () => {
  const skipped = { ...theirs, name: 'PyTorch f32', skipped: 'torch is not installed' }
  expect(withComparisons([summarizeCase(ours, runs), skipped])).toEqual([summarizeCase(ours, runs), skipped])
})
