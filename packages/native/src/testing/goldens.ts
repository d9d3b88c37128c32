import { readFileSync } from 'node:fs'

/** A tensor of a golden, row-major. */
export interface Golden<Data> {
  readonly shape: readonly number[]
  readonly data: Data
}

interface Entry {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data_offsets: readonly [number, number]
}

/** Reads a safetensors file of `fixtures/golden`. */
export function readGoldens(name: string) {
  const file = readFileSync(new URL(`../../../../fixtures/golden/${name}.safetensors`, import.meta.url))
  const start = 8 + Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.toString('utf8', 8, start)) as Record<string, Entry>
  const find = (tensor: string, wanted: string) => {
    const entry = header[tensor]
    if (entry?.dtype !== wanted) throw new Error(`${name} has no ${wanted} tensor '${tensor}'`)
    const [from, to] = entry.data_offsets
    return { shape: entry.shape, buffer: Uint8Array.from(file.subarray(start + from, start + to)).buffer }
  }
  return {
    floats(tensor: string): Golden<Float32Array> {
      const { shape, buffer } = find(tensor, 'F32')
      return { shape, data: new Float32Array(buffer) }
    },
    integers(tensor: string): Golden<Int32Array> {
      const { shape, buffer } = find(tensor, 'I32')
      return { shape, data: new Int32Array(buffer) }
    },
  }
}

/** The parts of a tensor along its first dimension. */
export function rows<Data extends Float32Array | Int32Array>({ shape, data }: Golden<Data>): Data[] {
  const [count = 0] = shape
  const length = data.length / count
  return Array.from({ length: count }, (_, row) => data.subarray(row * length, (row + 1) * length) as Data)
}

/** The largest difference between two lists, NaN where only one of them has it. */
export function largestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.NaN
  let largest = 0
  for (let i = 0; i < expected.length; i++) {
    if (Number.isNaN(actual[i]) && Number.isNaN(expected[i])) continue
    const difference = Math.abs(actual[i]! - expected[i]!)
    if (!(difference <= largest)) largest = difference
  }
  return largest
}
