import {
  checkInteger,
  checkOptions,
  checkSeed,
  HmarError,
  HmarRangeError,
  type ModelConfig,
  resolveLabel,
} from '@hmar/core'
import type { Label } from '@hmar/model'
import { listenerSchema, signalSchema } from '@hmar/native'
import type { NativeGenerateRequest } from '@hmar/native/binding'
import { type Plan, Schedule } from '@hmar/scheduler'
import { z } from 'zod'

import type { GenerateProgress } from './progress.js'

/** What to generate, and how. */
export interface GenerateOptions {
  /**
   * One for each image, at most a million: an index, a name of `config.labels` in any case, or null for an unconditional
   * image.
   */
  readonly labels: readonly Label[]
  /** A whole number below 2⁶⁴; from 2⁵³ on, a bigint. Defaults to 0. */
  readonly seed?: number | bigint | undefined
  /**
   * How to sample. Defaults to `Schedule.default(sampler.model.config)`. Schedules with functions of the caller's own run
   * in a session.
   */
  readonly schedule?: Schedule | undefined
  /**
   * The first image's number within a larger job, 0 to 2³² − 1. An image depends on the model, the plan, its label, the
   * seed and its number alone, so that a job can be made in parts. Defaults to 0.
   */
  readonly firstImage?: number | undefined
  /** Images made at once, 1 to 1024: memory against time. On the CPU results do not depend on it. Defaults to 8. */
  readonly batchSize?: number | undefined
  /** Whether the result holds the token map after every pass. Defaults to false. */
  readonly trace?: boolean | undefined
  /**
   * Whether masked passes whose guidance is below 1e-4 do without their unconditional half: half the work, and no
   * difference that could be seen. Defaults to true.
   */
  readonly skipNegligibleGuidance?: boolean | undefined
  /** Aborting it rejects with `signal.reason`, within one pass. */
  readonly signal?: AbortSignal | undefined
  /** Gets an event after every pass and every decoding of a batch. */
  readonly onProgress?: ((progress: GenerateProgress) => void) | undefined
}

/** What was checked and compiled. */
export interface CheckedGenerateOptions {
  readonly plan: Plan
  readonly request: NativeGenerateRequest
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: GenerateProgress) => void) | undefined
}

const mostImages = 1_000_000
const imageNumbers = 2 ** 32
// What Node can hold in one array everywhere.
const mostBytes = 2 ** 31 - 1

const optionsSchema = z.object({
  schedule: z.custom<Schedule>((value) => value instanceof Schedule, 'must be a Schedule').optional(),
  trace: z.boolean().default(false),
  skipNegligibleGuidance: z.boolean().default(true),
  signal: signalSchema.optional(),
  onProgress: listenerSchema<GenerateProgress>().optional(),
})

/**
 * Checks everything that can be checked before work starts.
 *
 * @param side - pixels along a side of the model's pictures
 * @throws {HmarRangeError} if an option is of the wrong kind or out of its range
 * @throws {HmarError} `SCHEDULE_INVALID` if the schedule does not fit the model, or needs a session
 */
export function checkGenerateOptions(
  { labels, seed = 0, firstImage = 0, batchSize = 8, ...options }: GenerateOptions,
  config: ModelConfig,
  side: number,
): CheckedGenerateOptions {
  const count = checkCount(labels, side)
  const checked = checkOptions('generate', optionsSchema, options)
  const plan = (checked.schedule ?? Schedule.default(config)).compile(config)
  checkNeedsNoSession(plan)
  return {
    plan,
    request: {
      passes: plan.passes,
      // Unlike `map`, `from` visits the holes of a sparse array too, and refuses them.
      labels: Array.from(labels, (label) => resolveLabel(label, config)),
      seed: checkSeed(seed),
      firstImage: checkInteger('The first image', firstImage, 0, imageNumbers - count),
      batchSize: checkInteger('The batch size', batchSize, 1, 1024),
      skipNegligibleGuidance: checked.skipNegligibleGuidance,
      trace: checked.trace,
    },
    signal: checked.signal,
    onProgress: checked.onProgress,
  }
}

function checkNeedsNoSession({ functions }: Plan): void {
  if (functions.length === 0) return
  throw new HmarError(
    'SCHEDULE_INVALID',
    'The schedule chooses positions by functions, which the engine cannot call.',
    {
      found: functions.map((name) => JSON.stringify(name)).join(', '),
      remedy: 'Run it in a session: `sampler.open()`.',
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
