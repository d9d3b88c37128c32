import { checkInteger, type Pyramid } from '@hmar/core'
import { z } from 'zod'
import type { Resolved } from './options.js'
import { checkLength } from './per-scale.js'
import { cosPi, power as raise } from './portable-math.js'

// Beyond it the guided logits are no use in single precision.
const strength = z.number().min(0).max(1000)

/** Classifier-free guidance by scale and pass: t in (1 + t)·conditional − t·unconditional. */
export const GuidanceOptions = z.strictObject({
  /**
   * How the guidance of next-scale passes runs over the scales, as a share of `scale`; r = (k − 1)/(K − 1):
   * `linear` r (VAR, HMAR), `constant` 1, `power-cosine` (1 − cos(π·r^power))/2 (RAR), or a list with one share a scale.
   * Defaults to `linear`.
   */
  nextScale: z
    .union([z.enum(['linear', 'constant', 'power-cosine']), z.array(strength).readonly()])
    .optional(),
  /** The guidance where the share is 1 ("cfg"), 0 to 1000. Defaults to 0: off. */
  scale: strength.optional(),
  /** The power of `power-cosine`. Defaults to 1. */
  power: z.number().positive().max(100).optional(),
  /** The first and last scale that are guided, from 1. Defaults to all. */
  scales: z.tuple([z.int().positive(), z.int().positive()]).readonly().optional(),
  /**
   * The guidance of masked passes: a value of its own, or a ratio of `scale`. Defaults to `{ ratio: 1e-6 }`, HMAR's
   * released value, with which masked passes are not guided for practical purposes.
   */
  masked: z.union([strength, z.strictObject({ ratio: strength }).readonly()]).optional(),
})
/** Classifier-free guidance by scale and pass. What is left out stays as it was. */
export type GuidanceOptions = z.infer<typeof GuidanceOptions>
/** Guidance with nothing left open. */
export type Guidance = Resolved<Omit<GuidanceOptions, 'scales'>> & Pick<GuidanceOptions, 'scales'>

/** No guidance. */
export const unguided: Guidance = { nextScale: 'linear', scale: 0, power: 1, masked: { ratio: 1e-6 } }

/**
 * Checks guidance against a pyramid.
 *
 * @throws {HmarError} `SCHEDULE_INVALID` for a list of the wrong length; {@link HmarRangeError} for an interval
 * that leaves the pyramid.
 */
export function checkGuidance({ nextScale, scales }: Guidance, pyramid: Pyramid): void {
  checkLength('the guidance', nextScale, pyramid)
  if (scales === undefined) return
  const first = checkInteger('The first guided scale', scales[0], 1, pyramid.length)
  checkInteger('The last guided scale', scales[1], first, pyramid.length)
}

/** The guidance t of a pass over a scale, counted from 1, of `scaleCount`. */
export function guidanceAt(
  guidance: Guidance,
  kind: 'next-scale' | 'masked',
  scale: number,
  scaleCount: number,
): number {
  const { scales, masked } = guidance
  if (scales !== undefined && (scale < scales[0] || scale > scales[1])) return 0
  if (kind === 'masked') return typeof masked === 'number' ? masked : guidance.scale * masked.ratio
  return guidance.scale * share(guidance, scale, scaleCount)
}

function share({ nextScale, power }: Guidance, scale: number, scaleCount: number): number {
  const r = (scale - 1) / (scaleCount - 1)
  switch (nextScale) {
    case 'linear':
      return r
    case 'constant':
      return 1
    case 'power-cosine':
      return (1 - cosPi(raise(r, power))) / 2
    default:
      return nextScale[scale - 1] as number
  }
}
