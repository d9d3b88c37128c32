import type { AttentionShape } from '@hmar/native'

import type { Peak } from '../floor.js'
import type { Host } from '../host.js'
import type { Summary } from '../statistics.js'
import type { Resolution } from './cases.js'

export type Direction = 'forward' | 'backward'

/** One engine's time of one direction. */
export interface Timing {
  readonly engine: 'hmar' | 'sdpa-mask' | 'flex' | 'varlen'
  readonly direction: Direction
  /** Milliseconds between the GPU's events; PyTorch's peers give their median alone. */
  readonly milliseconds: number
  /** Of ours: the spread of the repeats. */
  readonly time?: Summary
  /** Useful arithmetic: keys that a query does not see are not counted. */
  readonly teraflops: number
  /** Of ours: the fastest of PyTorch's times over it. */
  readonly speedup?: number
}

/** An engine that could not be measured, and why. */
export interface NotMeasured {
  readonly engine: Timing['engine']
  readonly skipped: string
}

/** Everything about one attention. */
export interface KernelResult {
  readonly resolution: Resolution
  readonly shape: AttentionShape
  /** Operations of the forward direction. */
  readonly flops: number
  /** Bytes that the forward direction moves at least. */
  readonly bytes: number
  readonly timings: readonly Timing[]
  readonly skipped: readonly NotMeasured[]
  /** TFLOP/s that bandwidth and arithmetic allow forward, where the GPU's speed is known. */
  readonly cap?: number
}

/** Everything one run found. */
export interface KernelResults {
  readonly date: string
  readonly command: string
  readonly commit: string
  readonly host: Host
  readonly node: string
  readonly torch?: string
  readonly quick: boolean
  readonly results: readonly KernelResult[]
}

/** TFLOP/s that a GPU allows: what its arithmetic can do, or what its memory can feed. */
export const capOf = (
  { flops, bytes }: Pick<KernelResult, 'flops' | 'bytes'>,
  { bandwidth, arithmetic }: Peak,
): number => Math.min(arithmetic, (flops / bytes) * bandwidth) / 1e12

/** Adds to each of ours how many times as long the fastest of PyTorch's takes. */
export function withSpeedups(timings: readonly Timing[]): Timing[] {
  return timings.map((timing) => {
    const peers = timings.filter(
      ({ engine, direction }) => engine !== 'hmar' && direction === timing.direction,
    )
    if (timing.engine !== 'hmar' || peers.length === 0) return timing
    const best = Math.min(...peers.map(({ milliseconds }) => milliseconds))
    return { ...timing, speedup: best / timing.milliseconds }
  })
}
