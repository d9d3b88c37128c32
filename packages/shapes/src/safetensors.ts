import { readFileSync } from 'node:fs'

/** A tensor, row-major. */
export interface Tensor<Data> {
  readonly shape: readonly number[]
  readonly data: Data
}

interface Entry {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data_offsets: readonly [number, number]
}

/** A safetensors file of our own making, in memory. */
export function readSafetensors(path: string | URL) {
  const file = readFileSync(path)
  const start = 8 + Number(file.readBigUInt64LE(0))
  const { __metadata__: metadata = {}, ...entries } = JSON.parse(file.toString('utf8', 8, start)) as Record<
    string,
    Entry
  > & { __metadata__?: Record<string, string> }
  const find = (name: string, dtype: string) => {
    const entry = entries[name]
    if (entry?.dtype !== dtype) throw new Error(`${path} holds no ${dtype} tensor '${name}'.`)
    const [from, to] = entry.data_offsets
    // A copy: views of four bytes have to begin at a multiple of four.
    return { shape: entry.shape, bytes: Uint8Array.from(file.subarray(start + from, start + to)) }
  }
  return {
    metadata,
    floats(name: string): Tensor<Float32Array> {
      const { shape, bytes } = find(name, 'F32')
      return { shape, data: new Float32Array(bytes.buffer) }
    },
    integers(name: string): Tensor<Int32Array> {
      const { shape, bytes } = find(name, 'I32')
      return { shape, data: new Int32Array(bytes.buffer) }
    },
    bytes(name: string): Tensor<Uint8Array> {
      const { shape, bytes } = find(name, 'U8')
      return { shape, data: bytes }
    },
  }
}

export type Safetensors = ReturnType<typeof readSafetensors>

/** The parts of a tensor along its first dimension. */
export function rows<Data extends Float32Array | Int32Array | Uint8Array>({
  shape,
  data,
}: Tensor<Data>): Data[] {
  const [count = 0] = shape
  const length = data.length / count
  return Array.from({ length: count }, (_, row) => data.slice(row * length, (row + 1) * length) as Data)
}
