import { checkOptions } from '@hmar/core'
import { z } from 'zod'

import { binding } from './binding.js'
import type { Dtype } from './binding-types.js'
import { withCancellation } from './cancellation.js'
import { dtypeSchema, listenerSchema, signalSchema } from './option-schemas.js'
import { type BytesProgress, bytesListener } from './progress.js'

/** What to make up. */
export interface SynthesizeOptions {
  /** Blocks that a pass runs through; the width is 64 times it. */
  readonly depth: number
  /** `hmar` is the combined layout, with both branches. */
  readonly layout: 'hmar' | 'next-scale' | 'var'
  /** Pixels along a side of its pictures: which of the released pyramids it has. Defaults to 256. */
  readonly resolution?: 256 | 512 | 1024 | undefined
  /** The folder to write `model.safetensors`, `tokenizer.safetensors` and `config.json` into. */
  readonly output: string
  /** What the files hold. Defaults to `'f32'`. */
  readonly dtype?: Dtype | undefined
  /** Aborting it rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined
  /** Gets the bytes written so far. */
  readonly onProgress?: ((progress: BytesProgress) => void) | undefined
}

const optionsSchema = z.object({
  depth: z.number().int().min(1).max(64),
  layout: z.enum(['hmar', 'next-scale', 'var']),
  resolution: z.union([z.literal(256), z.literal(512), z.literal(1024)]).default(256),
  output: z.string(),
  dtype: dtypeSchema.default('f32'),
  signal: signalSchema.optional(),
  onProgress: listenerSchema<BytesProgress>().optional(),
})

/**
 * Writes full-size checkpoints of reproducible random weights, for benchmarks and tests.
 *
 * @throws {HmarError} `FILE_UNWRITABLE`
 */
export async function synthesizeCheckpoint(options: SynthesizeOptions): Promise<void> {
  const { signal, onProgress, ...recipe } = checkOptions('synthesizeCheckpoint', optionsSchema, options)
  await withCancellation({ signal, onEvent: bytesListener(onProgress) }, (token, onEvent) =>
    binding().synthesizeCheckpoint(recipe, token, onEvent),
  )
}
