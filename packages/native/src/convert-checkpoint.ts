import { checkOptions } from '@hmar/core'
import { z } from 'zod'

import { binding } from './binding.js'
import type { Dtype } from './binding-types.js'
import { withCancellation } from './cancellation.js'
import { dtypeSchema, listenerSchema, modeSchema, signalSchema } from './option-schemas.js'
import { type BytesProgress, bytesListener } from './progress.js'

/** What to convert, and into what. */
export interface ConvertOptions {
  /** One file, or a next-scale training file and the masked one finetuned from it, to be assembled. */
  readonly inputs: readonly string[]
  /** The safetensors file to write. */
  readonly output: string
  /** What the file holds. Defaults to `'f32'`. */
  readonly dtype?: Dtype | undefined
  /** Which it is, where the file does not tell. Defaults to what the file tells. */
  readonly mode?: 'next-scale' | 'var' | undefined
  /** Which half of a training file. Defaults to the only one there is. */
  readonly part?: 'model' | 'tokenizer' | undefined
  /** The licence to write into the file. Defaults to the source's own. */
  readonly license?: string | undefined
  /** Keep weights that are NaN or infinite. Defaults to false. */
  readonly allowNonFinite?: boolean | undefined
  /** Aborting it rejects with `signal.reason` and leaves no file. */
  readonly signal?: AbortSignal | undefined
  /** Gets the bytes converted so far. */
  readonly onProgress?: ((progress: BytesProgress) => void) | undefined
}

/** What was written. */
export interface ConversionSummary {
  readonly tensors: number
  /** Numbers in all tensors. */
  readonly parameters: number
  /** The written file's size. */
  readonly bytes: number
}

const optionsSchema = z.object({
  inputs: z.array(z.string()).min(1).max(2),
  output: z.string(),
  dtype: dtypeSchema.default('f32'),
  mode: modeSchema.optional(),
  part: z.enum(['model', 'tokenizer']).optional(),
  license: z.string().optional(),
  allowNonFinite: z.boolean().optional(),
  signal: signalSchema.optional(),
  onProgress: listenerSchema<BytesProgress>().optional(),
})

const summarySchema = z.object({ tensors: z.number(), parameters: z.number(), bytes: z.number() })

/**
 * Converts a checkpoint to safetensors. The file appears when it is complete.
 *
 * @throws {HmarError} `FILE_UNREADABLE`, `FILE_UNWRITABLE`, `TENSOR_MISMATCH` and whatever else is wrong with the input
 */
export async function convertCheckpoint(options: ConvertOptions): Promise<ConversionSummary> {
  const { signal, onProgress, ...conversion } = checkOptions('convertCheckpoint', optionsSchema, options)
  const json = await withCancellation({ signal, onEvent: bytesListener(onProgress) }, (token, onEvent) =>
    binding().convertCheckpoint(conversion, token, onEvent),
  )
  return summarySchema.parse(JSON.parse(json))
}
