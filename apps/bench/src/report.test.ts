import { expect, it } from 'vitest'

import type { BenchCase } from './cases.js'
import type { Measurement } from './measurement.js'
import { renderReport } from './report.js'
import { type Results, summarizeCase, withSpeedups } from './results.js'

const plan = [
  { kind: 'next-scale', scale: 1 },
  { kind: 'next-scale', scale: 2 },
  { kind: 'masked', scale: 2 },
  { kind: 'next-scale', scale: 3 },
] as const

const measurement = (milliseconds: number): Measurement => ({
  milliseconds: [milliseconds, milliseconds * 1.05, milliseconds * 0.98],
  decodeMilliseconds: [milliseconds * 0.3],
  passMilliseconds: [plan.map((_, pass) => milliseconds * 0.07 * (pass + 1))],
  loadMilliseconds: 1500,
  passes: plan.length,
  tokens: 680,
  peakMemoryBytes: 2.6e9,
})

const ours: BenchCase = { model: 'd16', engine: 'hmar', dtype: 'f32', batch: 1 }
const results: Results = {
  date: '2026-01-01',
  command: 'npm run bench -- --quick',
  commit: 'abc1234',
  host: { cpu: 'A <fast> processor', device: 'fast', cores: 2, memoryBytes: 16e9, system: 'linux 6.1 x64' },
  node: '20.20.2',
  threads: 2,
  cases: withSpeedups([
    summarizeCase(ours, [
      { ...measurement(4200), facts: { plan, passFlops: 9e11, decodeFlops: 2e11, weightBytes: 2.3e9 } },
    ]),
    summarizeCase({ ...ours, dtype: 'bf16' }, [
      { ...measurement(2100), facts: { plan, passFlops: 9e11, decodeFlops: 2e11, weightBytes: 1.2e9 } },
    ]),
    summarizeCase({ ...ours, engine: 'pytorch' }, [{ ...measurement(8400), torch: '2.9.0' }]),
  ]),
}

it('is one page that needs nothing else', () => {
  const page = renderReport(results)
  expect(page).toContain('A &lt;fast&gt; processor')
  expect(page).toContain('Node 20.20.2, PyTorch 2.9.0')
  expect(page).toContain('2.00×')
  expect(page).toContain('4.00×')
  expect(page.match(/<svg/g)).toHaveLength(4)
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
  expect(page).toContain('torch is not installed')
  expect(page).not.toContain('the embedded model')
})
