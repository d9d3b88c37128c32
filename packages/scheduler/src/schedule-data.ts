import { type Pyramid, pyramidFault } from '@hmar/core'
import { z } from 'zod'
import { type Guidance, GuidanceOptions } from './guidance.js'
import { Refinement } from './refinement.js'
import { type Sampling, SamplingOptions } from './sampling.js'

/**
 * Which positions a masked pass leaves masked. The engine has one way: `least-confident`, those whose tokens were least
 * probable when they were drawn (§4).
 */
export const PositionChoice = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('least-confident') }),
])
/** Which positions a masked pass leaves masked. */
export type PositionChoice = Readonly<z.infer<typeof PositionChoice>>

const pyramid = z.array(z.number()).check((context) => {
  const fault = pyramidFault(context.value)
  if (fault !== undefined) context.issues.push({ code: 'custom', message: fault, input: context.value })
})

/** A schedule as JSON, version 1. */
export const ScheduleJson = z.strictObject({
  version: z.literal(1),
  pyramid,
  refinements: z.array(Refinement),
  guidance: GuidanceOptions.optional(),
  sampling: SamplingOptions.optional(),
  positions: PositionChoice.optional(),
})

/** A schedule as data: what `JSON.stringify` writes and `Schedule.fromJSON` reads. */
export interface ScheduleData {
  /** The version of this form. */
  readonly version: 1
  /** The side of the token map at each scale. */
  readonly pyramid: Pyramid
  /** The passes over each scale. */
  readonly refinements: readonly Refinement[]
  readonly guidance: Guidance
  readonly sampling: Sampling
  readonly positions: PositionChoice
}
