import { expect, it } from 'vitest'

import type { BenchCase } from './cases.js'
import type { Measurement } from './measurement.js'
import { renderReport } from './report.js'
import { type Results, summarizeCase, withComparisons } from './results.js'
import { summarize } from './statistics.js'

const plan = [
  { kind: 'next-scale', scale: 1 },
  { kind: 'next-scale', scale: 2 },
  { kind: 'masked', scale: 2 },
  { kind: 'next-scale', scale: 3 },
] as const

const measurement = (milliseconds: number): Measurement => ({
  milliseconds: [milliseconds, milliseconds * 1.05, milliseconds * 0.98],
  decodeMilliseconds: [milliseconds * 0.3],
  loadMilliseconds: 1500,
  passes: plan.length,
  tokens: 680,
  weightBytes: 1.2e9,
  peakMemoryBytes: 2.6e9,
})
const ofOurs = (milliseconds: number): Measurement => ({
  ...measurement(milliseconds),
  passMilliseconds: [plan.map((_, pass) => milliseconds * 0.07 * (pass + 1))],
  facts: { plan, passFlops: 9e11, decodeFlops: 2e11 },
})

const host = {
  cpu: 'A <fast> processor',
  device: 'fast',
  cores: 2,
  memoryBytes: 16e9,
  system: 'linux 6.1 x64',
}
const ours: BenchCase = { device: 'cpu', model: 'd16', engine: 'hmar', dtype: 'f32', batch: 1 }
const results: Results = {
  date: '2026-01-01',
  command: 'npm run bench -- --quick',
  commit: 'abc1234',
  host,
  node: '20.20.2',
  threads: 2,
  quick: true,
  cases: withComparisons([
    summarizeCase(ours, [ofOurs(4200)]),
    summarizeCase({ ...ours, dtype: 'bf16' }, [ofOurs(2100)]),
    summarizeCase({ ...ours, engine: 'pytorch' }, [{ ...measurement(8400), torch: '2.9.0' }]),
  ]),
  openings: [],
}

it('is one page that needs nothing else', () => {
  const page = renderReport(results)
  expect(page).toContain('Generation on the CPU')
  expect(page).toContain('A &lt;fast&gt; processor')
  expect(page).toContain('Node 20.20.2, PyTorch 2.9.0')
  expect(page).toContain('2.00×')
  expect(page).toContain('4.00×')
  expect(page.match(/<svg/g)).toHaveLength(4)
  expect(page).not.toContain('floor')
  expect(page).not.toMatch(/<script|https?:|NaN|undefined/)
})

it('shows only what was measured, and says what was not', () => {
  const skipped = {
    ...ours,
    engine: 'pytorch',
    name: 'PyTorch f32',
    skipped: 'torch is not installed',
  } as const
  const page = renderReport({ ...results, cases: [...results.cases.slice(0, 2), skipped] })
  expect(page).toContain('PyTorch f32 was not measured: torch is not installed')
  expect(page).not.toContain('the embedded model')
})

it('sets a GPU beside its floor and both ways of PyTorch', () => {
  const floor = { total: 2.2, conditioning: 0.1, passes: [0.3, 0.4, 0.5, 0.4], decoding: 0.5 }
  const operations = [
    { name: 'linear 9×1024→4096 with GELU', calls: 48, microseconds: 560 },
    { name: 'attention 1×9 of 16×64', calls: 48, microseconds: 340 },
  ]
  const gpu: BenchCase = { device: 'cuda', model: 'd30', engine: 'hmar', dtype: 'bf16', batch: 64 }
  const facts = { plan, passFlops: 9e11, decodeFlops: 2e11, floor }
  const page = renderReport({
    ...results,
    host: { ...host, gpu: { name: 'NVIDIA H200', features: ['150 GB'] } },
    cases: withComparisons([
      summarizeCase(gpu, [{ ...ofOurs(4.4), hostMilliseconds: [4.5], operations, facts }]),
      summarizeCase({ ...gpu, engine: 'pytorch' }, [measurement(44)]),
      summarizeCase({ ...gpu, engine: 'pytorch-graph' }, [measurement(22)]),
    ]),
    openings: [
      {
        model: 'd30',
        device: 'cuda',
        bytes: 5.3e9,
        read: summarize([1200]),
        loaded: summarize([1500]),
        firstPicture: summarize([1900]),
      },
    ],
  })
  expect(page).toContain('Generation on NVIDIA H200')
  expect(page).toContain('<td>50%</td>')
  expect(page).toContain('<td>10.00</td><td>5.00</td>')
  expect(page).toContain('linear 9×1024→4096 with GELU')
  expect(page).toContain('11.7 µs')
  expect(page).toContain('5.30 GB')
  // Floors, opening, time, passes, memory.
  expect(page.match(/<svg/g)).toHaveLength(5)
  expect(page.match(/class="mark"/g)).toHaveLength(3 + plan.length + 1 + 1)
  expect(page).not.toMatch(/<script|https?:|NaN|undefined/)
})
