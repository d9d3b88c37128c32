import { checkOptions, HmarError, type TokenMaps } from '@hmar/core'
import type { Label } from '@hmar/model'
import type { Picture, Tokenizer } from '@hmar/tokenizer'
import { z } from 'zod'

import type { KeepMask } from './keep-mask.js'
import type { GenerateResult } from './result.js'
import type { GenerateOptions, KeptPixels } from './sample-options.js'

/** A picture of the model's size, or its tokens. */
export type Source = Picture | TokenMaps

interface OptionsWithSource extends Omit<GenerateOptions, 'labels' | 'keep'> {
  /** One for each image, as for `generate`. Defaults to one image without a class. */
  readonly labels?: readonly Label[] | undefined
}

/** What to draw anew of a picture, and as what. */
export interface EditOptions extends OptionsWithSource {
  readonly source: Source
  /** What is kept: `keepOutside` a box (in-painting), `keepInside` one (out-painting), `keepDark` of a painted mask. */
  readonly mask: KeepMask
  /**
   * Whether the source's pixels are put back where they are kept, which the decoder shifts slightly: `true`, or over how many
   * pixels on either side of an edge the two blend, 0 to 256. Defaults to false.
   */
  readonly composite?: boolean | { readonly feather: number } | undefined
}

/** What to draw anew of a picture: its details. */
export interface VaryOptions extends OptionsWithSource {
  readonly source: Source
  /** How many of the first scales are kept, 1 to K: the fewer, the freer. */
  readonly scales: number
}

/** What to draw between two pictures. */
export interface InterpolateOptions extends OptionsWithSource {
  readonly sources: readonly [Source, Source]
  /** Of the second, 0 to 1. */
  readonly weight: number
  /** How many of the first scales are mixed and kept, 1 to K; the others are drawn. */
  readonly scales: number
}

/** What was generated from a picture. */
export interface EditResult extends GenerateResult {
  /** The tokens that were kept from, to be used again: encoding takes time. */
  readonly source: TokenMaps
}

const compositeSchema = z
  .union([z.boolean(), z.strictObject({ feather: z.int().min(0).max(256) })])
  .default(false)

const isTokens = (source: Source): source is TokenMaps => 'scales' in source

/** The tokens of a source. */
export const tokensOf = async (source: Source, tokenizer: Tokenizer, signal: AbortSignal | undefined) =>
  isTokens(source) ? source : tokenizer.encode(source, { signal })

/**
 * Which pixels of the source are put back, if that is asked for.
 *
 * @throws {HmarRangeError} for a feather out of range
 */
export function keptPixelsOf({ source, composite }: EditOptions, tokenizer: Tokenizer) {
  const checked = checkOptions('composite', compositeSchema, composite)
  if (checked === false) return async () => undefined
  const feather = checked === true ? 0 : checked.feather
  return async (): Promise<KeptPixels> => ({
    picture: isTokens(source) ? await tokenizer.decode(source) : source,
    feather,
  })
}

/**
 * Refuses what is no source before anything is encoded.
 *
 * @throws {HmarError} `IMAGE_INVALID`
 */
export function checkSource(source: unknown): void {
  if (typeof source === 'object' && source !== null && ('scales' in source || 'data' in source)) return
  throw new HmarError('IMAGE_INVALID', 'There is no source picture.', {
    found: source === null ? 'null' : typeof source,
    expected: 'a picture with data, width and height, or token maps',
  })
}
