import { describe, expect, it } from 'vitest'

import { kernelCases } from './cases.js'
import { peersOf } from './peers.js'
import { renderKernels } from './report.js'
import { capOf, type KernelResults, type Timing, withSpeedups } from './results.js'

const timing = (engine: Timing['engine'], milliseconds: number): Timing => ({
  engine,
  direction: 'forward',
  milliseconds,
  teraflops: 100 / milliseconds,
})

describe('withSpeedups', () => {
  it("compares ours with the fastest of PyTorch's in the same direction", () => {
    const [ours] = withSpeedups([
      timing('hmar', 2),
      timing('flex', 8),
      timing('varlen', 5),
      { ...timing('flex', 1), direction: 'backward' },
    ])
    expect(ours?.speedup).toBe(2.5)
  })

  it('compares nothing where PyTorch is missing', () => {
    expect(withSpeedups([timing('hmar', 2)])[0]).not.toHaveProperty('speedup')
  })
})

it('is capped by memory or by arithmetic, whichever is less', () => {
  const peak = { bandwidth: 4e12, arithmetic: 800e12 }
  expect(capOf({ flops: 80, bytes: 1 }, peak)).toBe(320)
  expect(capOf({ flops: 4000, bytes: 1 }, peak)).toBe(800)
})

it('sorts what the peers print by case', () => {
  const line = {
    peer: 'flex',
    resolution: 256,
    mode: 'causal',
    torch: '2.11',
    forward_milliseconds: 1,
    forward_teraflops: 75,
    backward_milliseconds: 2,
    backward_teraflops: 99,
  } as const
  const peers = peersOf([line, { ...line, peer: 'varlen', skipped: 'no sequences' }])
  const [diagonal, causal] = kernelCases
  expect(peers.torch).toBe('2.11')
  expect(peers.of(diagonal!)).toEqual({ timings: [], skipped: [] })
  expect(peers.of(causal!).timings.map(({ direction, teraflops }) => [direction, teraflops])).toEqual([
    ['forward', 75],
    ['backward', 99],
  ])
  expect(peers.of(causal!).skipped).toEqual([{ engine: 'varlen', skipped: 'no sequences' }])
})

it('shows the roof, every case, what was published and what was skipped', () => {
  const run: KernelResults = {
    date: '2026-01-01',
    command: 'npm run bench -- kernels',
    commit: 'abc',
    host: {
      cpu: 'cpu',
      gpu: { name: 'NVIDIA H200', features: [] },
      device: 'nvidia-h200',
      cores: 1,
      memoryBytes: 1,
      system: 'linux',
    },
    node: '20',
    quick: false,
    results: kernelCases.map((benchCase) => ({
      ...benchCase,
      flops: 8e13,
      bytes: 1e12,
      cap: 320,
      timings: [{ ...timing('hmar', 0.5), teraflops: 240, speedup: 3.5 }],
      skipped: [{ engine: 'varlen', skipped: '<none>' }],
    })),
  }
  const page = renderKernels(run)
  expect(page).toContain('aria-label="Roofline"')
  expect(page.match(/<circle/g)).toHaveLength(kernelCases.length)
  expect(page).toContain('1024 px ×4, causal')
  expect(page).toContain('<td>98</td>')
  expect(page).toContain('<td>75%</td>')
  expect(page).toContain('Not measured: varlen: &lt;none&gt;')
  expect(page).not.toContain('Backward')
})
