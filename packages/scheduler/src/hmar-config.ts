import { z } from 'zod'

import { GuidanceOptions } from './guidance.js'
import { TopK, TopP } from './sampling.js'

/**
 * A sampling configuration of HMAR's, a YAML file of scalars, with our `mask_schedule`. All keys are optional; what is
 * left out is the default of the model.
 */
export const HmarConfig = z.strictObject({
  /** The model's depth: checked against the model, or else chooses the preset that the other keys change. */
  depth: z.int().positive().optional(),
  /** Guidance at the last scale, rising linearly. */
  cfg: GuidanceOptions.shape.scale,
  /** Keep the k largest logits; 0 = all. */
  top_k: TopK.optional(),
  /** Keep the most probable tokens that together reach p; 0 = all. */
  top_p: TopP.optional(),
  /** Soft decoding. */
  more_smooth: z.boolean().optional(),
  /** Whether masked passes run; true takes the model's default lists. */
  mask: z.boolean().optional(),
  /** Tokens committed by each pass, a list a scale. */
  mask_schedule: z.array(z.array(z.number())).optional(),
})
/** A sampling configuration of HMAR's. */
export type HmarConfig = z.infer<typeof HmarConfig>
