import {
  checkInteger,
  checkSeed,
  checkTokenMaps,
  describeIssues,
  HmarRangeError,
  type LabelSpace,
  type Recipe,
  resolveLabel,
  unflattenTokens,
} from '@hmar/core'
import { parseLabels } from '@hmar/model'
import { type HmarSampler, keepDark, keepOutside } from '@hmar/sampler'
import { type Plan, Schedule } from '@hmar/scheduler'
import { z } from 'zod'

import type { Work } from './job.js'
import type { Limits } from './options.js'
import { readSentPicture } from './sent-picture.js'
import { ServerError } from './server-error.js'

/** What all requests for images have. */
const shape = {
  /** Names, indices or null for no class; each for as many images as `count` says. */
  labels: z.array(z.union([z.string().max(200), z.int(), z.null()])).min(1),
  count: z.int().min(1).default(1),
  /** Digits where it is beyond 2⁵³. Left out, the server chooses, and makes the images beside others'. */
  seed: z.union([z.int().nonnegative(), z.string().regex(/^\d{1,20}$/)]).optional(),
  /** The first image's number within the seed. */
  image: z.int().nonnegative().optional(),
  /** In JSON as `JSON.stringify(schedule)` writes it, in HMAR's form, or as YAML text. */
  schedule: z.union([z.looseObject({}), z.string()]).optional(),
  previews: z.boolean().default(true),
}

const box = z.strictObject({ left: z.int(), top: z.int(), width: z.int(), height: z.int() })

/** Images of labels. */
export const GenerateRequest = z.strictObject(shape)
/** What a client sends to have images of labels. */
export type GenerateRequest = z.input<typeof GenerateRequest>

/** Images that begin as another one did. */
export const BranchRequest = z
  .strictObject({
    ...shape,
    /** How many of the first scales are kept. */
    scales: z.int(),
    /** The other image's tokens, scale 1 first; or a picture file in base64. */
    tokens: z.array(z.int().nonnegative()).optional(),
    picture: z.base64().optional(),
  })
  .refine(
    ({ tokens, picture }) => (tokens === undefined) !== (picture === undefined),
    'needs tokens or a picture',
  )
/** What a client sends to have images that keep the first scales of another one. */
export type BranchRequest = z.input<typeof BranchRequest>

/** Images of which a part is another one's. */
export const EditRequest = z.strictObject({
  ...shape,
  /** A picture file in base64: cropped and resized where it does not fit. */
  picture: z.base64(),
  /** A picture file in base64: drawn anew is what is bright; or the rectangle that is. */
  mask: z.union([z.base64(), box]),
  /** Over how many pixels kept pixels, which are put back, and drawn ones blend; null leaves them as they are decoded. */
  feather: z.int().min(0).max(256).nullable().default(1),
})
/** What a client sends to have a part of a picture drawn anew. */
export type EditRequest = z.input<typeof EditRequest>

/** A schedule to be looked at. */
export const ScheduleRequest = z.strictObject({ schedule: shape.schedule, images: z.int().min(1).optional() })

/** A search for labels. */
export const LabelsQuery = z.strictObject({
  search: z.string().max(200).default(''),
  limit: z.coerce.number().pipe(z.int().min(1).max(10_000)).default(20),
})

/**
 * Reads what a client sent.
 *
 * @throws {ServerError} `REQUEST_INVALID`, naming everything that is wrong
 */
export function parse<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new ServerError('REQUEST_INVALID', `The request is not usable: ${describeIssues(result.error)}.`)
}

/**
 * The work of a request for images of labels.
 *
 * @throws {HmarRangeError} for labels and numbers out of range
 * @throws {HmarError} `SCHEDULE_INVALID`
 */
export function generateWork(
  request: z.output<typeof GenerateRequest>,
  sampler: HmarSampler,
  limits: Limits,
): Work {
  const { config } = sampler.model
  const { count, seed, image, previews } = request
  // Before they are looked up, which takes time: a text may have several.
  const labels = request.labels.flatMap<string | number | null>((label) =>
    typeof label === 'string' ? label.split(',') : label,
  )
  const images = labels.length * count
  if (images > limits.images)
    throw new HmarRangeError('These are too many images for one request.', {
      found: String(images),
      expected: `at most ${limits.images}`,
      remedy: 'Make several requests, with `image` to number them.',
    })
  if (image !== undefined && seed === undefined)
    throw new HmarRangeError('An image has a number within a seed.', { found: 'no seed' })
  if (image !== undefined)
    checkInteger('The first image’s number within the seed', image, 0, 2 ** 32 - images)
  return {
    labels: labels.flatMap((label) => Array<number | null>(count).fill(labelOf(label, config))),
    schedule: scheduleOf(request, sampler, limits),
    skipNegligibleGuidance: true,
    previews,
    ...(seed !== undefined && { seed: checkSeed(BigInt(seed)) }),
    ...(image !== undefined && { firstImage: image }),
  }
}

function labelOf(label: string | number | null, model: LabelSpace): number | null {
  if (typeof label === 'string') return parseLabels([label], model)[0]!
  return label === null ? null : resolveLabel(label, model)
}

/** The work of a request for branches. */
export async function branchWork(
  { tokens, picture, scales, ...rest }: z.output<typeof BranchRequest>,
  sampler: HmarSampler,
  limits: Limits,
): Promise<Work> {
  const work = generateWork(rest, sampler, limits)
  const { pyramid, codebookSize } = sampler.model.config
  checkInteger('The number of scales to keep', scales, 1, pyramid.length)
  if (tokens === undefined) {
    const source = await readSentPicture(picture!, sampler, limits)
    return {
      ...work,
      keep: async (signal) => ({ tokens: await sampler.tokenizer.encode(source, { signal }), scales }),
    }
  }
  const maps = unflattenTokens(Int32Array.from(tokens), pyramid)
  checkTokenMaps(maps, pyramid, codebookSize)
  return { ...work, keep: async () => ({ tokens: maps, scales }) }
}

/** The work of a request for edits. */
export async function editWork(
  { picture, mask, feather, ...rest }: z.output<typeof EditRequest>,
  sampler: HmarSampler,
  limits: Limits,
): Promise<Work> {
  const work = generateWork(rest, sampler, limits)
  const source = await readSentPicture(picture, sampler, limits)
  const keepMask =
    typeof mask === 'string'
      ? keepDark(await readSentPicture(mask, sampler, limits))
      : keepOutside(mask, sampler.side)
  const pixels = feather === null ? undefined : { picture: source, feather }
  return {
    ...work,
    keep: async (signal) => ({
      tokens: await sampler.tokenizer.encode(source, { signal }),
      mask: keepMask,
      pixels,
    }),
  }
}

/**
 * The work of making a picture again; the image that comes has a recipe, whose `pixels` tell whether it is the same.
 *
 * @throws {HmarError} `WEIGHTS_MISMATCH`, `SCHEDULE_INVALID`, `IMAGE_INVALID`, `RECIPE_INVALID`
 */
export async function reproductionWork(recipe: Recipe, sampler: HmarSampler, limits: Limits): Promise<Work> {
  const { schedule, keep, ...options } = await sampler.fromRecipe(recipe)
  checkPasses(schedule.compile(sampler.model.config), limits)
  return { ...options, schedule, keep: keep && (async () => keep), previews: false }
}

/**
 * The schedule of a request; without one, the model's default.
 *
 * @throws {HmarError} `SCHEDULE_INVALID`
 * @throws {HmarRangeError} for more passes than are allowed
 */
export function scheduleOf(
  { schedule: sent }: { readonly schedule?: object | string | undefined },
  { model: { config } }: HmarSampler,
  limits: Limits,
): Schedule {
  if (sent === undefined) return Schedule.default(config)
  const text = typeof sent === 'string' ? sent : JSON.stringify(sent)
  const schedule = Schedule.parse(text, config)
  checkPasses(schedule.compile(config), limits)
  return schedule
}

function checkPasses({ passes }: Plan, { passes: most }: Limits): void {
  if (passes.length <= most) return
  throw new HmarRangeError('The schedule has too many passes.', {
    found: String(passes.length),
    expected: `at most ${most}`,
  })
}
