import type { Pass, Pyramid } from '@hmar/core'
import { z } from 'zod'
import type { Resolved } from './options.js'
import { checkLength, perScale, valueAt } from './per-scale.js'

/** The k of top-k. */
export const TopK = z
  .int()
  .min(0)
  .max(2 ** 31 - 1)
/** The p of top-p. */
export const TopP = z.number().min(0).max(1)

/** How one token is drawn (§4.1): each a number, a list with one a scale, or a ramp `{ from, to }` over the scales. */
export const SamplingOptions = z.strictObject({
  /** Logits are divided by it; 0.001 to 1000. Defaults to 1. */
  temperature: perScale(z.number().min(0.001).max(1000)).optional(),
  /** Keep the logits not below the k-th largest; 0 keeps all. Ramps are rounded. Defaults to 0. */
  topK: perScale(TopK).optional(),
  /** Keep the most probable tokens that together reach p, 0 to 1; 0 keeps all. Defaults to 0. */
  topP: perScale(TopP).optional(),
  /** Keep tokens at least this times as probable as the most probable one, 0 to 1; 0 keeps all. Defaults to 0. */
  minP: perScale(z.number().min(0).max(1)).optional(),
  /**
   * Soft decoding (§4.2, "more smooth") at the scales without masked passes: smoother pictures, never for metrics.
   * Defaults to false.
   */
  smooth: z.boolean().optional(),
})
/** How one token is drawn. What is left out stays as it was. */
export type SamplingOptions = z.infer<typeof SamplingOptions>
/** Sampling with nothing left open. */
export type Sampling = Resolved<SamplingOptions>

/** Draws from the model's distribution as it is. */
export const unfiltered: Sampling = { temperature: 1, topK: 0, topP: 0, minP: 0, smooth: false }

const filters = ['temperature', 'topK', 'topP', 'minP'] as const

/**
 * Checks that lists have a value for each scale.
 *
 * @throws {HmarError} `SCHEDULE_INVALID`.
 */
export function checkSampling(sampling: Sampling, pyramid: Pyramid): void {
  for (const name of filters) checkLength(name, sampling[name], pyramid)
}

/** The filters at a scale, counted from 1, of `scaleCount`. */
export function filtersAt(
  { temperature, topK, topP, minP }: Sampling,
  scale: number,
  scaleCount: number,
): Pick<Pass, (typeof filters)[number]> {
  return {
    temperature: valueAt(temperature, scale, scaleCount),
    topK: Math.round(valueAt(topK, scale, scaleCount)),
    topP: valueAt(topP, scale, scaleCount),
    minP: valueAt(minP, scale, scaleCount),
  }
}
