import { readFileSync } from 'node:fs'

interface Entry {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data_offsets: readonly [number, number]
}

/** Reads the float32 tensors of a safetensors file. */
export function readTensors(path: URL) {
  const file = readFileSync(path)
  const start = 8 + Number(file.readBigUInt64LE(0))
  const { __metadata__, ...header } = JSON.parse(file.toString('utf8', 8, start))
  return new Map(
    Object.entries<Entry>(header)
      .filter(([, { dtype }]) => dtype === 'F32')
      .map(
        ([
          name,
          {
            shape,
            data_offsets: [from, to],
          },
        ]) => {
          const bytes = Uint8Array.from(file.subarray(start + from, start + to))
          return [name, { shape, data: new Float32Array(bytes.buffer) }]
        },
      ),
  )
}
