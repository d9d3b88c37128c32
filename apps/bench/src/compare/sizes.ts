import type { BenchDevice } from '../cases.js'

/** Models that HMAR and VAR are compared at, with synthetic weights. */
export const sizes = {
  d16: { depth: 16, resolution: 256 },
  d24: { depth: 24, resolution: 256 },
  d30: { depth: 30, resolution: 256 },
  'd24-512': { depth: 24, resolution: 512 },
  'd24-1024': { depth: 24, resolution: 1024 },
} as const

/** A depth, and 512 or 1024 where its pictures have more than 256 pixels a side. */
export type SizeName = keyof typeof sizes

export const sizeNames = Object.keys(sizes) as readonly SizeName[]

/** What a device is asked where nothing else is. */
export const defaultSizes = (device: BenchDevice): readonly SizeName[] =>
  device === 'cuda' ? ['d24', 'd24-512', 'd24-1024'] : ['d16']

/** Pictures at once: as many as fill a GPU, and one. */
export function defaultBatches(device: BenchDevice, size: SizeName): readonly number[] {
  if (device === 'cpu') return [1]
  return { 256: [1, 8, 64], 512: [1, 8], 1024: [1, 4] }[sizes[size].resolution]
}
