import { HmarError, HmarRangeError } from './error.js'
import { type Pyramid, pyramidTokens } from './pyramid.js'

/** The tokens of one picture: `scales[k − 1]` holds the p_k² tokens of scale k, row-major. */
export interface TokenMaps {
  readonly scales: readonly Int32Array[]
}

/**
 * Checks token maps against a pyramid and a codebook.
 *
 * @throws {@link HmarError} `IMAGE_INVALID` if a scale is missing, superfluous or of the wrong length;
 * {@link HmarRangeError} if a token is not in the codebook.
 */
export function checkTokenMaps(tokens: TokenMaps, pyramid: Pyramid, codebookSize: number): void {
  if (tokens.scales.length !== pyramid.length)
    throw new HmarError('IMAGE_INVALID', 'The token maps do not fit the pyramid.', {
      found: `${tokens.scales.length} scales`,
      expected: `${pyramid.length} scales with sides ${pyramid.join(', ')}`,
    })
  for (const [index, side] of pyramid.entries()) {
    const scale = tokens.scales[index]
    if (scale?.length !== side * side)
      throw new HmarError('IMAGE_INVALID', `The token map of scale ${index + 1} does not fit the pyramid.`, {
        found: `${scale?.length ?? 0} tokens`,
        expected: `${side} × ${side} = ${side * side} tokens`,
      })
    const outside = scale.findIndex((token) => token < 0 || token >= codebookSize)
    if (outside >= 0)
      throw new HmarRangeError(`Token ${outside} of scale ${index + 1} is not in the codebook.`, {
        found: String(scale[outside]),
        expected: `0 to ${codebookSize - 1}`,
      })
  }
}

/**
 * The maps one after another, scale 1 first: the order of the engine's positions.
 *
 * @returns A new array of Σ p² tokens.
 * @throws As {@link checkTokenMaps}.
 */
export function flattenTokens(tokens: TokenMaps, pyramid: Pyramid, codebookSize: number): Int32Array {
  checkTokenMaps(tokens, pyramid, codebookSize)
  const flat = new Int32Array(pyramidTokens(pyramid))
  let offset = 0
  for (const scale of tokens.scales) {
    flat.set(scale, offset)
    offset += scale.length
  }
  return flat
}

/**
 * The inverse of {@link flattenTokens}.
 *
 * @returns Copies: `flat` may be reused.
 * @throws {@link HmarError} `IMAGE_INVALID` if `flat` does not hold Σ p² tokens.
 */
export function unflattenTokens(flat: Int32Array, pyramid: Pyramid): TokenMaps {
  if (flat.length !== pyramidTokens(pyramid))
    throw new HmarError('IMAGE_INVALID', 'The tokens do not fit the pyramid.', {
      found: `${flat.length} tokens`,
      expected: `${pyramidTokens(pyramid)} tokens for sides ${pyramid.join(', ')}`,
    })
  let offset = 0
  const scales = pyramid.map((side) => {
    const scale = flat.slice(offset, offset + side * side)
    offset += scale.length
    return scale
  })
  return { scales }
}
