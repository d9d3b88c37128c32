import { createHash } from 'node:crypto'
import { HmarError, type Recipe, unflattenTokens } from '@hmar/core'
import { type HmarModel, labelName } from '@hmar/model'
import { addonVersion } from '@hmar/native'
import type { NativeKeep } from '@hmar/native/binding'
import { HmarImage, readPicture } from '@hmar/tokenizer'

import packageJson from '../package.json' with { type: 'json' }
import { type Composited, keptPixels } from './composite.js'
import type { Checked, Keep } from './sample-options.js'

/** How a picture was made: a call, the picture's place in it, and what was put back. */
export interface Making {
  readonly checked: Checked
  readonly index: number
  readonly composited?: Composited | undefined
}

/** Everything that a picture depends on. */
export async function recipeOf(
  image: HmarImage,
  { checked, index, composited }: Making,
  model: HmarModel,
): Promise<Recipe> {
  const { request, schedule } = checked
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

/** What of another picture a recipe keeps. */
export function keepOf({ keep }: Recipe, pyramid: readonly number[]): Keep | undefined {
  if (keep === undefined) return undefined
  const { tokens, scales, mask } = keep
  return {
    tokens: unflattenTokens(Int32Array.from(tokens), pyramid),
    scales,
    ...(mask && { mask: { data: Float32Array.from(mask), side: pyramid.at(-1)! } }),
  }
}

/**
 * What a recipe puts back.
 *
 * @throws {HmarError} `RECIPE_INVALID` if that is no picture of the model's size
 */
export async function compositedOf({ composite }: Recipe, side: number): Promise<Composited | undefined> {
  if (composite === undefined) return undefined
  const bits = Buffer.from(composite.kept, 'base64')
  const source = await readPicture(Buffer.from(composite.source, 'base64'))
  const area = side * side
  if (source.width !== side || bits.length !== Math.ceil(area / 8))
    throw new HmarError('RECIPE_INVALID', 'What the recipe puts back does not fit the model’s pictures.', {
      found: `${source.width}×${source.height} pixels, ${bits.length} bytes of what is kept`,
      expected: `${side}×${side} pixels, ${Math.ceil(area / 8)} bytes`,
    })
  const data = Uint8Array.from({ length: area }, (_, at) => (bits[at >> 3]! >> (7 - (at & 7))) & 1)
  return { source: source.data, mask: { data, side }, feather: composite.feather }
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
