import { beforeEach, expect, it, vi } from 'vitest'

import { type BenchCase, casesOf } from './cases.js'
import { measure } from './measure.js'
import type { Measurement } from './measurement.js'
import { isMeasured } from './results.js'
import { measureInRounds } from './rounds.js'

vi.mock('./measure.js', () => ({ measure: vi.fn() }))
vi.spyOn(console, 'error').mockImplementation(() => {})

const setting = { folder: 'weights', threads: 2, warmup: 1, repeats: 1 }
const took = (milliseconds: number): Measurement => ({
  milliseconds: [milliseconds],
  decodeMilliseconds: [1],
  passes: 14,
  tokens: 680,
  peakMemoryBytes: 1e9,
})

const measured = vi.mocked(measure)
beforeEach(() => {
  measured.mockReset()
})

it('lets the processes take turns, and sums up what each found', async () => {
  let time = 10
  measured.mockImplementation(async (cases) => cases.map(() => took(time++)))
  const results = await measureInRounds(casesOf('d16', 'cuda', true), 2, setting)
  expect(measured.mock.calls.map(([cases]) => cases[0]?.engine)).toEqual([
    'hmar',
    'pytorch',
    'pytorch-graph',
    'hmar',
    'pytorch',
    'pytorch-graph',
  ])
  expect(results).toHaveLength(6)
  // The first case was measured first in both rounds.
  expect(results[0]).toMatchObject({ batch: 1, engine: 'hmar', time: { min: 10, max: 16, count: 2 } })
})

it('does not try again what cannot be measured', async () => {
  const fails = ({ engine, batch }: BenchCase) => engine === 'pytorch' && batch === 64
  measured.mockImplementation(async (cases) =>
    cases.map((benchCase) => (fails(benchCase) ? { skipped: 'out of memory' } : took(5))),
  )
  const results = await measureInRounds(casesOf('d16', 'cuda', true), 2, setting)
  const skipped = results.filter((result) => !isMeasured(result))
  expect(skipped).toMatchObject([{ engine: 'pytorch', batch: 64, skipped: 'out of memory' }])
  expect(measured.mock.calls.map(([cases]) => cases.length)).toEqual([2, 2, 2, 2, 1, 2])
})

it('says so where a process ended before its last batch', async () => {
  measured.mockImplementation(async () => [took(5)])
  const results = await measureInRounds(casesOf('d16', 'cuda', true), 1, setting)
  expect(results[1]).toMatchObject({ batch: 64, skipped: 'its process ended before' })
})
