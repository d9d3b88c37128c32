import { ModelConfig, TokenizerConfig } from '@hmar/core'
import { z } from 'zod'

import { binding } from './binding.js'
import { withCancellation } from './cancellation.js'

/** What a checkpoint is, read without loading its weights or executing anything in it. */
export interface CheckpointReport {
  readonly format: 'pth' | 'safetensors'
  /** `training`: a nested training file, with a model and a tokenizer. */
  readonly kind: 'model' | 'tokenizer' | 'training' | 'unknown'
  /** The model's layout, where the file tells. */
  readonly layout?: 'combined' | 'next-scale' | 'var' | undefined
  readonly modelConfig?: ModelConfig | undefined
  readonly tokenizerConfig?: TokenizerConfig | undefined
  readonly tensors: readonly TensorReport[]
  /** Numbers in all tensors. */
  readonly parameters: number
  /** The file's size. */
  readonly bytes: number
  /** A safetensors file's own strings. */
  readonly metadata: Readonly<Record<string, string>>
  /** The licence's name, where the file states one. */
  readonly license?: string | undefined
}

/** A tensor as it stands in a file. */
export interface TensorReport {
  readonly name: string
  readonly shape: readonly number[]
  readonly dtype: string
}

/** How to look at a checkpoint. */
export interface InspectOptions {
  /** Which it is, where the file does not tell. Defaults to what the file tells. */
  readonly mode?: 'next-scale' | 'var' | undefined
  /** Aborting it rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined
}

const reportSchema = z.object({
  format: z.enum(['pth', 'safetensors']),
  kind: z.enum(['model', 'tokenizer', 'training', 'unknown']),
  layout: z.enum(['combined', 'next-scale', 'var']).optional(),
  modelConfig: ModelConfig.optional(),
  tokenizerConfig: TokenizerConfig.optional(),
  tensors: z.array(z.object({ name: z.string(), shape: z.array(z.number()), dtype: z.string() })),
  parameters: z.number(),
  bytes: z.number(),
  metadata: z.record(z.string(), z.string()),
  license: z.string().optional(),
})

/**
 * Says what a checkpoint is.
 *
 * @throws {HmarError} `FILE_UNREADABLE`, `NOT_A_CHECKPOINT`, `CHECKPOINT_CORRUPT` or `CHECKPOINT_REFUSED`
 */
export async function inspectCheckpoint(
  path: string,
  { mode, signal }: InspectOptions = {},
): Promise<CheckpointReport> {
  const json = await withCancellation({ signal }, () => binding().inspectCheckpoint(path, mode))
  return reportSchema.parse(JSON.parse(json))
}
