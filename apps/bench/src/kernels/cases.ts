import type { AttentionShape } from '@hmar/native'

/** Pictures' pixels along a side, by which pyramids and batches are named. */
export const resolutions = [256, 512, 1024] as const

export type Resolution = (typeof resolutions)[number]

/** Sides of the scales. */
const pyramids: Readonly<Record<Resolution, readonly number[]>> = {
  256: [1, 2, 3, 4, 5, 6, 8, 10, 13, 16],
  512: [1, 2, 3, 4, 6, 9, 13, 18, 24, 32],
  1024: [1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64],
}

const images: Readonly<Record<Resolution, number>> = { 256: 64, 512: 16, 1024: 4 }

/** d16's. */
const heads = 16

/** An attention over a pyramid. */
export interface KernelCase {
  readonly resolution: Resolution
  readonly shape: AttentionShape
}

/** Every resolution, HMAR's pattern and VAR's. */
export const kernelCases: readonly KernelCase[] = resolutions.flatMap((resolution) =>
  (['diagonal', 'causal'] as const).map((pattern) => ({
    resolution,
    shape: {
      images: images[resolution],
      heads,
      segments: pyramids[resolution].map((side) => side * side),
      pattern,
    },
  })),
)

/** TFLOP/s of useful arithmetic. */
export interface Published {
  readonly forward: number
  readonly backward: number
}

/**
 * What HMAR's released Triton kernels reach in fp16 on an H200, at the same batches and heads: measured once with PyTorch 2.11
 * and Triton 3.6 (2026-11-23), not part of this run.
 */
export const released: Readonly<Record<Resolution, Readonly<Record<AttentionShape['pattern'], Published>>>> =
  {
    256: { diagonal: { forward: 98, backward: 31 }, causal: { forward: 170, backward: 51 } },
    512: { diagonal: { forward: 231, backward: 61 }, causal: { forward: 292, backward: 71 } },
    1024: { diagonal: { forward: 308, backward: 75 }, causal: { forward: 345, backward: 81 } },
  }
