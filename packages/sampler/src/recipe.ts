import { createHash } from 'node:crypto'
import { HmarError, type Recipe, unflattenTokens } from '@hmar/core'
import { type HmarModel, labelName } from '@hmar/model'
import { addonVersion } from '@hmar/native'
import type { NativeKeep } from '@hmar/native/binding'
import { HmarImage, readPicture } from '@hmar/tokenizer'

import packageJson from '../package.json' with { type: 'json' }
import { type Composited, keptPixels } from './composite.js'
import type { Checked, Keep, KeptPixels } from './sample-options.js'

/** How a picture was made: a call, and the picture's place in it. */
export interface Making {
  readonly checked: Checked
  readonly index: number
}

/** Everything that a picture depends on. */
export async function recipeOf(
  image: HmarImage,
  { checked, index }: Making,
  model: HmarModel,
): Promise<Recipe> {
  const { request, schedule, composited } = checked
  const { config, arithmetic } = model
  const { device: id, dtype, batchInvariant } = arithmetic
  const label = request.labels[index] === config.classes ? null : request.labels[index]!
  return {
    kind: 'hmar-recipe',
    version: 1,
    packages: { '@hmar/sampler': packageJson.version, '@hmar/native': addonVersion() },
    model: { name: model.name, weights: await model.fingerprint() },
    device: { id, dtype, batchInvariant },
    label,
    ...(label !== null && { labelName: labelName(config, label) }),
    seed: request.seed.toString(),
    image: request.firstImage + index,
    schedule: { ...schedule.toJSON() },
    skipNegligibleGuidance: request.skipNegligibleGuidance,
    ...(request.keep && { keep: describeKeep(request.keep) }),
    ...(composited && { composite: await describeComposite(composited, image.width) }),
    pixels: digestOf(image),
  }
}

/** SHA-256 of a picture's bytes. */
export const digestOf = ({ data }: HmarImage): string => createHash('sha256').update(data).digest('hex')

/**
 * Refuses a recipe of another model.
 *
 * @throws {HmarError} `WEIGHTS_MISMATCH`
 */
export async function checkWeights({ model: wanted }: Recipe, model: HmarModel): Promise<void> {
  const weights = await model.fingerprint()
  if (weights === wanted.weights) return
  throw new HmarError('WEIGHTS_MISMATCH', 'The recipe is of another model’s picture.', {
    found: `${model.name}, weights ${weights.slice(0, 12)}…`,
    expected: `${wanted.name}, weights ${wanted.weights.slice(0, 12)}…`,
    remedy: 'Load the model that made the picture.',
  })
}

/**
 * What of another picture a recipe keeps.
 *
 * @throws {HmarError} `IMAGE_INVALID` if its tokens do not fit the pyramid, or the picture that it puts back is larger than the
 *   model's; `RECIPE_INVALID` if pixels that it puts back do not fit each other
 */
export async function keepOf(
  { keep, composite }: Recipe,
  pyramid: readonly number[],
  modelSide: number,
): Promise<Keep | undefined> {
  if (keep === undefined) return undefined
  const { scales, mask } = keep
  return {
    tokens: unflattenTokens(Int32Array.from(keep.tokens), pyramid),
    scales,
    mask: mask && { data: Float32Array.from(mask), side: pyramid.at(-1)! },
    pixels: composite && (await pixelsOf(composite, modelSide)),
  }
}

async function pixelsOf(
  { source, kept, feather }: NonNullable<Recipe['composite']>,
  modelSide: number,
): Promise<KeptPixels> {
  // A stranger's recipe may have a small file of very many pixels.
  const picture = await readPicture(Buffer.from(source, 'base64'), { mostPixels: modelSide ** 2 })
  const side = picture.width
  const bits = Buffer.from(kept, 'base64')
  if (bits.length !== Math.ceil((side * side) / 8))
    throw new HmarError('RECIPE_INVALID', 'The pixels that the recipe puts back do not fit each other.', {
      found: `${bits.length} bytes of what is kept`,
      expected: `${Math.ceil((side * side) / 8)}: a bit for each of ${side}×${side} pixels`,
    })
  const data = Uint8Array.from({ length: side * side }, (_, at) => (bits[at >> 3]! >> (7 - (at & 7))) & 1)
  return { picture, mask: { data, side }, feather }
}

const describeKeep = ({ tokens, mask, scales }: NativeKeep) => ({
  tokens: [...tokens],
  scales,
  ...(mask && { mask: [...mask] }),
})

async function describeComposite({ source, mask, feather }: Composited, side: number) {
  const bits = new Uint8Array(Math.ceil((side * side) / 8))
  for (const [at, kept] of keptPixels(mask, side).entries()) bits[at >> 3]! |= kept << (7 - (at & 7))
  const picture = new HmarImage({ data: source, width: side, height: side })
  return {
    source: (await picture.toBuffer('png')).toString('base64'),
    kept: Buffer.from(bits).toString('base64'),
    feather,
  }
}
