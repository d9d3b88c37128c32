import { checkPyramid, HmarError, PYRAMIDS, type Pyramid, type TokenMaps } from '@hmar/core'

const bySide: Readonly<Record<number, Pyramid>> = PYRAMIDS

/**
 * The pyramid that pictures of one side are encoded with where none was named.
 *
 * @throws {HmarError} `IMAGE_INVALID` for another side than 256, 512 or 1024
 */
export function pyramidOfSide(side: number): Pyramid {
  const pyramid = bySide[side]
  if (pyramid) return pyramid
  throw new HmarError(
    'IMAGE_INVALID',
    'A picture of this size does not tell which pyramid to encode it with.',
    {
      found: `${side} pixels a side`,
      expected: `${Object.keys(PYRAMIDS).join(', ')} pixels`,
      remedy: 'Resize it, or name the pyramid: Tokenizer.load({ path, pyramid: [1, 2, 3, …] }).',
    },
  )
}

/**
 * The pyramid that token maps were made with.
 *
 * @throws {HmarError} `IMAGE_INVALID` if a map is not square; `CONFIG_INVALID` if the sides do not rise from 1
 */
export function pyramidOfTokens({ scales }: TokenMaps): Pyramid {
  return checkPyramid(
    scales.map(({ length }, index) => {
      const side = Math.sqrt(length)
      if (Number.isInteger(side)) return side
      throw new HmarError('IMAGE_INVALID', `The token map of scale ${index + 1} is not square.`, {
        found: `${length} tokens`,
      })
    }),
  )
}
