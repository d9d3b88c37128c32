import { HmarError } from './error.js'

/** The side of the token map at each scale, coarse to fine: 1 first, then rising ("patch nums"). */
export type Pyramid = readonly number[]

/** The pyramids of the released models, by the side of the picture in pixels. */
export const PYRAMIDS = {
  256: [1, 2, 3, 4, 5, 6, 8, 10, 13, 16],
  512: [1, 2, 3, 4, 6, 9, 13, 18, 24, 32],
  1024: [1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64],
} as const satisfies Record<number, Pyramid>

// 512² cells of a map are eight times the largest released model's side; beyond it is a mistake, not a model.
const maximumSide = 512

// Four of the largest maps: pyramids rise faster than that, and work with a pyramid takes memory for all of its tokens.
const maximumTokens = 4 * maximumSide ** 2

/** Tokens in the whole pyramid, N = Σ p². */
export function pyramidTokens(pyramid: Pyramid): number {
  return pyramid.reduce((sum, side) => sum + side * side, 0)
}

/** Whether two pyramids have the same sides. */
export function samePyramid(a: Pyramid, b: Pyramid): boolean {
  return a.length === b.length && a.every((side, index) => side === b[index])
}

/** Why a list of sides is no pyramid, in words; `undefined` if it is one. */
export function pyramidFault(pyramid: Pyramid): string | undefined {
  if (pyramid.length < 2) return `a pyramid has at least two scales, this one has ${pyramid.length}`
  for (const [index, side] of pyramid.entries()) {
    if (!Number.isInteger(side) || side < 1 || side > maximumSide)
      return `the side of scale ${index + 1} is ${side}, not a whole number from 1 to ${maximumSide}`
    const before = pyramid[index - 1] ?? 0
    if (index === 0 && side !== 1) return `scale 1 is a single token, its side is ${side}`
    if (side <= before) return `scale ${index + 1} has side ${side}, not more than the ${before} before it`
  }
  const tokens = pyramidTokens(pyramid)
  if (tokens > maximumTokens) return `it has ${tokens} tokens, more than ${maximumTokens}`
  return undefined
}

/**
 * Checks a pyramid: at least two scales, the first of one token, sides rising.
 *
 * @returns A frozen copy.
 * @throws {@link HmarError} `CONFIG_INVALID`.
 */
export function checkPyramid(pyramid: Pyramid): Pyramid {
  const fault = pyramidFault(pyramid)
  if (fault !== undefined)
    throw new HmarError('CONFIG_INVALID', `The pyramid is not usable: ${fault}.`, {
      found: `[${pyramid.join(', ')}]`,
      expected: `rising sides that begin with 1, like [${PYRAMIDS[256].join(', ')}]`,
    })
  return Object.freeze([...pyramid])
}
