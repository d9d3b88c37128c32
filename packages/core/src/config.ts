import { z } from 'zod'
import { describeIssues } from './check.js'
import { HmarError } from './error.js'
import { pyramidFault } from './pyramid.js'

const count = z.int().positive()

const pyramid = z.array(z.number()).check((context) => {
  const fault = pyramidFault(context.value)
  if (fault !== undefined) context.issues.push({ code: 'custom', message: fault, input: context.value })
})

/** How a model was trained to be sampled, as the JSON beside its file says it. */
export const SamplingConfig = z.object({
  /** Classifier-free guidance at the last scale; it rises linearly from 0 at the first. */
  guidance: z.number().optional(),
  /** Keep the k largest logits; 0 = all. */
  topK: z.int().nonnegative().optional(),
  /** Keep the most probable tokens that together reach p; 0 = all. */
  topP: z.number().min(0).max(1).optional(),
  /** Tokens committed by each pass, a list a scale. */
  schedule: z.array(z.array(count)).optional(),
})
/** How a model was trained to be sampled, as the JSON beside its file says it. */
export type SamplingConfig = z.infer<typeof SamplingConfig>

/** The transformer of a checkpoint (§1, §3). */
export const ModelConfig = z.object({
  /**
   * `combined` has next-scale and masked branches (HMAR), `next-scale` only the former; `var` attends to all earlier
   * scales instead of within one.
   */
  layout: z.enum(['combined', 'next-scale', 'var']),
  /** D, blocks that a token runs through. */
  depth: count,
  /** M, blocks in each specialised branch of the combined layout; 0 in the others. */
  branchDepth: z.int().nonnegative(),
  /** C, numbers per token. */
  width: count,
  /** H, attention heads of 64 numbers each. */
  heads: count,
  /** Width of the feed-forward layer over `width`. */
  mlpRatio: z.number().positive().default(4),
  /** Whether queries and keys are normalised. */
  queryKeyNorm: z.boolean(),
  /** Whether all blocks share one AdaLN (VAR-d36-s). */
  sharedAdaLN: z.boolean(),
  /** Labels; one more class embedding stands for "no label". */
  classes: count,
  /** V, codes. */
  codebookSize: count,
  /** Z, numbers per code. */
  codeDimension: count,
  /** Sides of the token maps, coarse to fine. */
  pyramid,
  /** The model's name. */
  name: z.string().optional(),
  /** The labels' names. */
  labels: z.array(z.string()).optional(),
  /** How the model is meant to be sampled. */
  sampling: SamplingConfig.optional(),
})
/** The transformer of a checkpoint (§1, §3). */
export type ModelConfig = z.infer<typeof ModelConfig>

/** The multi-scale residual VQ-VAE of a checkpoint (§2). */
export const TokenizerConfig = z
  .object({
    /** Channels of the first level. */
    channels: count,
    /** Channels of each level over `channels`. */
    channelMultipliers: z.array(count).min(1),
    /** Residual blocks of an encoder level; the decoder has one more. */
    residualBlocks: count,
    /** V, codes. */
    codebookSize: count,
    /** Z, numbers per code. */
    codeDimension: count,
    /** φ convolutions of the quantiser. */
    phiCount: count,
    /** Sides of the token maps, where the file's JSON names them. */
    pyramid: pyramid.optional(),
  })
  .transform((config) => ({
    ...config,
    /** Pixels per cell of the latent grid, along a side. */
    downsample: 2 ** (config.channelMultipliers.length - 1),
  }))
/** The multi-scale residual VQ-VAE of a checkpoint (§2). */
export type TokenizerConfig = z.infer<typeof TokenizerConfig>

/**
 * Reads the engine's description of a transformer.
 *
 * @throws {@link HmarError} `CONFIG_INVALID`.
 */
export function parseModelConfig(json: string): ModelConfig {
  return parseConfig('model', ModelConfig, json)
}

/**
 * Reads the engine's description of a tokenizer.
 *
 * @throws {@link HmarError} `CONFIG_INVALID`.
 */
export function parseTokenizerConfig(json: string): TokenizerConfig {
  return parseConfig('tokenizer', TokenizerConfig, json)
}

function parseConfig<T>(what: string, schema: z.ZodType<T>, json: string): T {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch (cause) {
    throw new HmarError('CONFIG_INVALID', `The ${what} configuration is not JSON.`, { cause })
  }
  // Rust writes an absent option as null.
  const result = schema.safeParse(dropNulls(value))
  if (result.success) return result.data
  throw new HmarError(
    'CONFIG_INVALID',
    `The ${what} configuration is not usable: ${describeIssues(result.error)}.`,
  )
}

function dropNulls(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, entry]) => entry !== null)
      .map(([key, entry]) => [key, dropNulls(entry)]),
  )
}
