import { type Pyramid, pyramidFault } from '@hmar/core'
import { z } from 'zod'
import { type Guidance, GuidanceOptions } from './guidance.js'
import { PositionJson, type PositionsByScale } from './positions/position-choice.js'
import { Refinement } from './refinement.js'
import { Revision } from './revision.js'
import { type Sampling, SamplingOptions } from './sampling.js'

const pyramid = z.array(z.number()).check((context) => {
  const fault = pyramidFault(context.value)
  if (fault !== undefined) context.issues.push({ code: 'custom', message: fault, input: context.value })
})

/** A schedule as JSON, version 1. */
export const ScheduleJson = z.strictObject({
  version: z.literal(1),
  pyramid,
  refinements: z.array(Refinement),
  revisions: z.array(Revision).optional(),
  guidance: GuidanceOptions.optional(),
  sampling: SamplingOptions.optional(),
  positions: z.union([PositionJson, z.array(PositionJson).readonly()]).optional(),
})

/** A schedule as data: what `JSON.stringify` writes and `Schedule.fromJSON` reads. */
export interface ScheduleData {
  /** The version of this form. */
  readonly version: 1
  /** The side of the token map at each scale. */
  readonly pyramid: Pyramid
  /** The passes over each scale. */
  readonly refinements: readonly Refinement[]
  /** Tokens opened again, for each scale. */
  readonly revisions: readonly Revision[]
  readonly guidance: Guidance
  readonly sampling: Sampling
  /** Which tokens passes commit: at all scales, or a list with one choice for each. */
  readonly positions: PositionsByScale
}
