import { checkOptions, describeIssues, HmarError, type ModelConfig } from '@hmar/core'
import { callNative } from '@hmar/native'
import { binding } from '@hmar/native/binding'
import { Schedule, type ScorePositions } from '@hmar/scheduler'
import { z } from 'zod'

import { type Checked, checkSessionOptions } from './sample-options.js'

/** What a saved session says in words: how it samples. Where it is, the engine writes beside it. */
const Description = z.object({
  labels: z.array(z.number().nullable()).min(1),
  seed: z.string().regex(/^\d{1,20}$/),
  firstImage: z.number(),
  skipNegligibleGuidance: z.boolean(),
  schedule: z.unknown(),
})

export function describeSession({ schedule, request }: Checked, { classes }: ModelConfig): string {
  const { labels, seed, firstImage, skipNegligibleGuidance } = request
  return JSON.stringify({
    labels: labels.map((label) => (label === classes ? null : label)),
    seed: seed.toString(),
    firstImage,
    skipNegligibleGuidance,
    schedule,
  } satisfies z.input<typeof Description>)
}

/**
 * How a session that was saved samples.
 *
 * @throws {HmarError} `SESSION_INVALID` if it is none, `SCHEDULE_INVALID` if a function is missing
 * @throws {HmarRangeError} if it is no `Uint8Array`, or the model has no such labels
 */
export function readDescription(
  saved: Uint8Array,
  functions: Readonly<Record<string, ScorePositions>>,
  config: ModelConfig,
  side: number,
): Checked {
  checkOptions('The saved session', z.instanceof(Uint8Array), saved)
  const text = callNative(() => binding().sessionDescription(saved))
  const parsed = Description.safeParse(parseJson(text))
  if (!parsed.success) throw notASession(describeIssues(parsed.error))
  const { schedule, seed, ...options } = parsed.data
  return checkSessionOptions(
    { ...options, seed: BigInt(seed), schedule: Schedule.fromJSON(schedule, functions) },
    config,
    side,
  )
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw notASession((cause as Error).message, cause)
  }
}

const notASession = (found: string, cause?: unknown) =>
  new HmarError('SESSION_INVALID', 'The saved session cannot be restored.', {
    found,
    expected: 'what `session.save()` gave',
    cause,
  })
