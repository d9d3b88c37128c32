import { z } from 'zod'
import { acosPi, cosPi, exp2, log2, power } from './portable-math.js'

/**
 * How many tokens of a scale each of `steps` passes commits, given by the share that is still masked after r of the
 * steps (N tokens in the scale):
 *
 * | curve | masked share | from |
 * |---|---|---|
 * | `uniform` | 1 − r | MaskGIT |
 * | `power` | 1 − r^exponent | MaskGIT |
 * | `cosine` | cos(πr/2) | MaskGIT |
 * | `logarithm` | −log₂ r / log₂ N | MaskGIT |
 * | `exponential` | 1 − 2^(−log₂ N · (1 − r)) | MaskGIT |
 * | `arccos` | 2·acos(r)/π | Halton scheduler |
 * | `root` | 1 − √r | Halton scheduler |
 */
export const Curve = z.strictObject({
  curve: z.enum(['uniform', 'power', 'cosine', 'logarithm', 'exponential', 'arccos', 'root']),
  /** Passes over the scale, the next-scale pass included. */
  steps: z.int().positive(),
  /** The exponent of `power`. Defaults to 2. */
  exponent: z.number().positive().max(100).optional(),
})
/** How many tokens of a scale each of `steps` passes commits. */
export type Curve = z.infer<typeof Curve>

/**
 * The tokens that each step of a curve commits: whole numbers, at least one a step, `tokens` in all.
 *
 * @param tokens - N; at least `steps`.
 */
export function curveCommits(curve: Curve, tokens: number): number[] {
  const { steps } = curve
  let masked = tokens
  return Array.from({ length: steps }, (_, index) => {
    const stepsLeft = steps - index - 1
    const share = stepsLeft === 0 ? 0 : maskedShare(curve, (index + 1) / steps, tokens)
    // The slack undoes rounding: a third of nine tokens is three, not 2.9999999999999996.
    const wanted = Math.floor(share * tokens + 1e-9)
    const before = masked
    masked = Math.max(stepsLeft, Math.min(before - 1, wanted))
    return before - masked
  })
}

function maskedShare({ curve, exponent = 2 }: Curve, r: number, tokens: number): number {
  switch (curve) {
    case 'uniform':
      return 1 - r
    case 'power':
      return 1 - power(r, exponent)
    case 'cosine':
      return cosPi(r / 2)
    case 'logarithm':
      return -log2(r) / log2(tokens)
    case 'exponential':
      return 1 - exp2(-log2(tokens) * (1 - r))
    case 'arccos':
      return 2 * acosPi(r)
    case 'root':
      return 1 - Math.sqrt(r)
  }
}
