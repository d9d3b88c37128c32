import { z } from 'zod'
import { describeIssues } from './check.js'
import { HmarError } from './error.js'

const digest = z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 hexadecimal digits')
const token = z.int().nonnegative()

/** What a picture keeps of another one's tokens (§4.3). */
const Kept = z.strictObject({
  /** Σ p² tokens, scale 1 first. */
  tokens: z.array(token).min(1),
  /** So many of the first scales are kept whole. */
  scales: z.int().nonnegative(),
  /** Of the last scale, row-major: from 0 (drawn anew) to 1 (kept). */
  mask: z.array(z.number().min(0).max(1)).optional(),
})

/** Pixels of the source that were put back. */
const Composited = z.strictObject({
  /** The source as PNG, in base64. */
  source: z.base64(),
  /** A bit for each pixel, row-major, the highest of a byte first, in base64: 1 where it was kept. */
  kept: z.base64(),
  /** Pixels on either side of an edge over which the two blend. */
  feather: z.int().min(0).max(256),
})

/** Everything that a picture depends on, as JSON: the way to make it again. */
export const Recipe = z.strictObject({
  kind: z.literal('hmar-recipe'),
  version: z.literal(1),
  /** The versions of the packages that made it. */
  packages: z.record(z.string(), z.string()),
  model: z.strictObject({
    /** `shapes`, or the names of its files. */
    name: z.string(),
    /** A digest of weights that no two trained models share. */
    weights: digest,
  }),
  /** What computed it: on the CPU pictures are equal everywhere, on GPUs to rounding. */
  device: z.strictObject({ id: z.string(), dtype: z.string(), batchInvariant: z.boolean() }),
  /** The class; null for none. */
  label: z.int().nonnegative().nullable(),
  /** Its name, where it has one. */
  labelName: z.string().optional(),
  /** A whole number below 2⁶⁴. */
  seed: z.string().regex(/^\d{1,20}$/, 'must be a whole number'),
  /** Its number within the job, below 2³². */
  image: z
    .int()
    .min(0)
    .max(2 ** 32 - 1),
  /** What `JSON.stringify` makes of its schedule. */
  schedule: z.looseObject({}),
  skipNegligibleGuidance: z.boolean(),
  keep: Kept.optional(),
  composite: Composited.optional(),
  /** SHA-256 of its RGB bytes. */
  pixels: digest,
})
/** Everything that a picture depends on, as JSON: the way to make it again. */
export type Recipe = z.infer<typeof Recipe>

/**
 * Reads a recipe.
 *
 * @param value - What `JSON.parse` gave.
 * @throws {@link HmarError} `RECIPE_INVALID`, naming everything that is wrong.
 */
export function parseRecipe(value: unknown): Recipe {
  const result = Recipe.safeParse(value)
  if (result.success) return result.data
  throw new HmarError('RECIPE_INVALID', `This is no recipe: ${describeIssues(result.error)}.`, {
    expected: 'what `sampler.recipe()` gives, version 1',
    cause: result.error,
  })
}
