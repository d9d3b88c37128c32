import {
  checkInteger,
  checkOptions,
  checkSeed,
  flattenTokens,
  HmarError,
  HmarRangeError,
  type ModelConfig,
  resolveLabel,
  type TokenMaps,
} from '@hmar/core'
import type { Label } from '@hmar/model'
import { listenerSchema, signalSchema } from '@hmar/native'
import type { NativeGenerateRequest, NativeKeep } from '@hmar/native/binding'
import { type Pass, type Plan, Schedule } from '@hmar/scheduler'
import type { Picture } from '@hmar/tokenizer'
import { z } from 'zod'

import { bytesOf, type Composited } from './composite.js'
import { type KeepMask, keepMaskSchema, shrinkMask } from './keep-mask.js'
import type { GenerateProgress } from './progress.js'

/** What to sample, and how. */
export interface SampleOptions {
  /**
   * One for each image, at most a million: an index, a name of `config.labels` in any case, or null for an unconditional
   * image.
   */
  readonly labels: readonly Label[]
  /** A whole number below 2⁶⁴; from 2⁵³ on, a bigint. Defaults to 0. */
  readonly seed?: number | bigint | undefined
  /** How to sample. Defaults to `Schedule.default(sampler.model.config)`. */
  readonly schedule?: Schedule | undefined
  /**
   * The first image's number within a larger job, 0 to 2³² − 1. An image depends on the model, the plan, its label, the
   * seed and its number alone, so that a job can be made in parts. Defaults to 0.
   */
  readonly firstImage?: number | undefined
  /**
   * Whether masked passes whose guidance is below 1e-4 do without their unconditional half: half the work, and no
   * difference that could be seen. Defaults to true.
   */
  readonly skipNegligibleGuidance?: boolean | undefined
  /**
   * What every image keeps of another picture (§4.3). Scales with kept tokens are never decoded softly. `edit`, `vary` and
   * `interpolate` work it out.
   */
  readonly keep?: Keep | undefined
  /** Aborting it rejects with `signal.reason`, within one pass. */
  readonly signal?: AbortSignal | undefined
}

/** Which tokens of a picture are kept: whole scales, what a mask shows, or both. */
export interface Keep {
  readonly tokens: TokenMaps
  /** Kept at each scale where it shows more than one half; with a mask all of scale 1 is kept. */
  readonly mask?: KeepMask | undefined
  /** So many of the first scales are kept whole. Defaults to 0. */
  readonly scales?: number | undefined
  /**
   * The picture itself, of which finished images get the pixels that the mask keeps: the decoder shifts them slightly. With
   * `generate` and `stream`; a session shows what was decoded.
   */
  readonly pixels?: KeptPixels | undefined
}

/** Pixels to be put back. */
export interface KeptPixels {
  readonly picture: Picture
  /** Where they are kept. Defaults to the mask that tokens are kept by. */
  readonly mask?: KeepMask | undefined
  /** Pixels on either side of an edge over which the two blend, 0 to 256. Defaults to 0: a cut. */
  readonly feather?: number | undefined
}

/** Images made batch by batch. */
export interface BatchOptions extends SampleOptions {
  /** Images made at once, 1 to 1024: memory against time. On the CPU results do not depend on it. Defaults to 8. */
  readonly batchSize?: number | undefined
}

/** What to generate, and how. Schedules with functions of the caller's own are for `stream` and `open`. */
export interface GenerateOptions extends BatchOptions {
  /** Whether the result holds the token map after every pass. Defaults to false. */
  readonly trace?: boolean | undefined
  /** Gets an event after every pass and every decoding of a batch. */
  readonly onProgress?: ((progress: GenerateProgress) => void) | undefined
}

/** What was checked and compiled. */
export interface Checked {
  readonly schedule: Schedule
  readonly plan: Plan
  /** What finished images get back of the picture they keep. */
  readonly composited?: Composited | undefined
  readonly request: NativeGenerateRequest
}

/** What a session's copy may do otherwise. */
export interface OptionChanges {
  readonly firstImage?: number | undefined
  readonly seed?: bigint | undefined
  readonly labels?: readonly number[] | undefined
  readonly schedule?: Schedule | undefined
}

const mostImages = 1_000_000
const mostAtOnce = 1024
const imageNumbers = 2 ** 32
// What Node can hold in one array everywhere.
const mostBytes = 2 ** 31 - 1

const isSchedule = (value: unknown): value is Schedule => value instanceof Schedule
const isPicture = (value: unknown) => (value as Partial<Picture> | null)?.data !== undefined
const isTokenMaps = (value: unknown) => Array.isArray((value as Partial<TokenMaps> | null)?.scales)
const scheduleSchema = z.custom<Schedule>(isSchedule, 'must be a Schedule').optional()

const schema = z.object({
  schedule: scheduleSchema,
  skipNegligibleGuidance: z.boolean().default(true),
  signal: signalSchema.optional(),
  keep: z
    .object({
      tokens: z.custom<TokenMaps>(isTokenMaps, 'must be token maps'),
      mask: keepMaskSchema.optional(),
      scales: z.number().optional(),
      pixels: z
        .object({
          picture: z.custom<Picture>(isPicture, 'must be a picture'),
          mask: keepMaskSchema.optional(),
          feather: z.int().min(0).max(256).default(0),
        })
        .optional(),
    })
    .refine(({ mask, pixels }) => !pixels || pixels.mask || mask, 'pixels are put back by a mask')
    .optional(),
})

const generateSchema = z.object({
  trace: z.boolean().default(false),
  onProgress: listenerSchema<GenerateProgress>().optional(),
})

/**
 * Checks everything that can be checked before work starts.
 *
 * @param side - pixels along a side of the model's pictures
 * @throws {HmarRangeError} if an option is of the wrong kind or out of its range
 * @throws {HmarError} `SCHEDULE_INVALID` if the schedule does not fit the model; `IMAGE_INVALID` if kept tokens do not
 */
export function checkSampleOptions(
  { labels, seed = 0, firstImage = 0, batchSize = 8, ...options }: BatchOptions,
  config: ModelConfig,
  side: number,
): Checked {
  const count = checkCount(labels, side)
  const checked = checkOptions('The options', schema, options)
  const { keep } = checked
  const schedule = checked.schedule ?? Schedule.default(config)
  const plan = schedule.compile(config)
  return {
    schedule,
    plan,
    composited: keep && compositedOf(keep, side),
    request: {
      passes: plan.passes.map(withoutFunctions),
      // Unlike `map`, `from` visits the holes of a sparse array too, and refuses them.
      labels: Array.from(labels, (label) => resolveLabel(label, config)),
      seed: checkSeed(seed),
      firstImage: checkInteger('The first image', firstImage, 0, imageNumbers - count),
      batchSize: checkInteger('The batch size', batchSize, 1, mostAtOnce),
      skipNegligibleGuidance: checked.skipNegligibleGuidance,
      trace: false,
      keep: keep && checkKeep(keep, config),
    },
  }
}

/**
 * As {@link checkSampleOptions}, for what runs to its end in the engine.
 *
 * @throws {HmarError} `SCHEDULE_INVALID` also for a schedule that needs a session
 */
export function checkGenerateOptions(options: GenerateOptions, config: ModelConfig, side: number): Checked {
  const { trace } = checkOptions('generate', generateSchema, options)
  const checked = checkSampleOptions(options, config, side)
  checkNeedsNoSession(checked.plan)
  return { ...checked, request: { ...checked.request, trace } }
}

/**
 * As {@link checkSampleOptions}, for images that are one batch.
 *
 * @throws {HmarRangeError} also for more images than are made at once
 */
export function checkSessionOptions(options: SampleOptions, config: ModelConfig, side: number): Checked {
  const { labels } = options
  if (Array.isArray(labels)) checkInteger('The number of images', labels.length, 1, mostAtOnce)
  return checkSampleOptions({ ...options, batchSize: mostAtOnce }, config, side)
}

/**
 * The same with some options changed, which are checked already but for the schedule.
 *
 * @throws {HmarError} `SCHEDULE_INVALID` if the schedule does not fit the model
 */
export function changeOptions(
  { request, ...checked }: Checked,
  changes: OptionChanges,
  config: ModelConfig,
): Checked {
  const schedule = checkOptions('The schedule', scheduleSchema, changes.schedule) ?? checked.schedule
  const { seed = request.seed, labels = request.labels, firstImage = request.firstImage } = changes
  const plan = schedule.compile(config)
  const passes = plan.passes.map(withoutFunctions)
  return { schedule, plan, request: { ...request, passes, seed, labels, firstImage } }
}

function checkKeep({ tokens, mask, scales = 0 }: Keep, { pyramid, codebookSize }: ModelConfig): NativeKeep {
  return {
    tokens: flattenTokens(tokens, pyramid, codebookSize),
    mask: mask && shrinkMask(mask, pyramid.at(-1)!),
    scales: checkInteger('The number of scales to keep', scales, mask ? 0 : 1, pyramid.length),
  }
}

function compositedOf({ mask: tokenMask, pixels }: Keep, side: number): Composited | undefined {
  if (pixels === undefined) return undefined
  const { picture, mask = tokenMask, feather = 0 } = pixels
  if (mask === undefined) return undefined
  if (picture.width !== side || picture.height !== side)
    throw new HmarError('IMAGE_INVALID', 'The picture to be put back is not of the model’s size.', {
      found: `${picture.width}×${picture.height}`,
      expected: `${side}×${side}`,
    })
  if (picture.data.length !== 3 * side * side)
    throw new HmarError('IMAGE_INVALID', 'The picture to be put back lacks pixels, or has others.', {
      found: `${picture.data.length} values`,
      expected: `${3 * side * side}: red, green and blue for each pixel, no alpha`,
    })
  return { source: bytesOf(picture), mask, feather }
}

/** The session itself chooses by functions, after the pass. */
const withoutFunctions = ({ positions, ...pass }: Pass): Pass => ({
  ...pass,
  ...(positions && positions.kind !== 'custom' && { positions }),
})

function checkNeedsNoSession({ functions }: Plan): void {
  if (functions.length === 0) return
  throw new HmarError(
    'SCHEDULE_INVALID',
    'The schedule chooses positions by functions, which the engine cannot call.',
    {
      found: functions.map((name) => JSON.stringify(name)).join(', '),
      remedy: 'Run it in a session: `sampler.open()`, or `sampler.stream()`.',
    },
  )
}

/** By its length alone: nothing walks over a billion labels. */
function checkCount(labels: unknown, side: number): number {
  if (!Array.isArray(labels)) throw new HmarRangeError('The labels must be an array: one for each image.')
  const count = checkInteger('The number of images', labels.length, 1, mostImages)
  const fitting = Math.floor(mostBytes / (side * side * 3))
  if (count <= fitting) return count
  throw new HmarRangeError('The images of one call would not fit into memory.', {
    found: `${count} images of ${side}×${side} pixels`,
    expected: `at most ${fitting}`,
    remedy: 'Make them in several calls, with `firstImage`.',
  })
}
