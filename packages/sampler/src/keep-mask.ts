import { checkInteger, HmarRangeError } from '@hmar/core'
import type { Picture } from '@hmar/tokenizer'
import { z } from 'zod'

/** What of a square picture is kept: `[side, side]`, row-major, from 0 (drawn anew) to 1 (kept). */
export interface KeepMask {
  readonly data: Float32Array | Uint8Array
  readonly side: number
}

/** A rectangle of pixels. */
export interface Box {
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
}

const largestSide = 16_384

export const keepMaskSchema = z
  .object({
    data: z.union([z.instanceof(Float32Array), z.instanceof(Uint8Array)]),
    side: z.int().min(1).max(largestSide),
  })
  .refine(({ data, side }) => data.length === side * side, 'must hold side × side values')
  .refine(({ data }) => data.every((value) => value >= 0 && value <= 1), 'must hold values from 0 to 1')

/**
 * Keeps everything outside a box: in-painting (§4.3).
 *
 * @param side - Of the picture, in pixels: `sampler.side`.
 * @throws {HmarRangeError} if the box is not within the picture
 */
export const keepOutside = (box: Box, side: number): KeepMask => boxMask(box, side, false)

/**
 * Keeps everything inside a box: out-painting (§4.3).
 *
 * @param side - Of the picture, in pixels: `sampler.side`.
 * @throws {HmarRangeError} if the box is not within the picture
 */
export const keepInside = (box: Box, side: number): KeepMask => boxMask(box, side, true)

/**
 * The mask of a painted picture: what is bright is drawn anew, what is dark is kept.
 *
 * @throws {HmarRangeError} if the picture is not square
 */
export function keepDark({ data, width, height }: Picture): KeepMask {
  if (width !== height || data.length !== 3 * width * height)
    throw new HmarRangeError('A mask is a square picture.', {
      found: `${width}×${height} pixels, ${data.length} values`,
      expected: 'as many pixels high as wide, three values for each',
    })
  const planar = data instanceof Float32Array
  const area = width * height
  const middle = planar ? 0 : 127.5
  const channel = (pixel: number, index: number) => data[planar ? index * area + pixel : pixel * 3 + index]!
  const isDark = (pixel: number) =>
    channel(pixel, 0) + channel(pixel, 1) + channel(pixel, 2) < 3 * middle ? 1 : 0
  return { data: Uint8Array.from({ length: area }, (_, pixel) => isDark(pixel)), side: width }
}

function boxMask({ left, top, width, height }: Box, side: number, inside: boolean): KeepMask {
  checkInteger('The side of the picture', side, 1, largestSide)
  checkInteger('The left side of the box', left, 0, side - 1)
  checkInteger('The top of the box', top, 0, side - 1)
  checkInteger('The width of the box', width, 1, side - left)
  checkInteger('The height of the box', height, 1, side - top)
  const data = new Uint8Array(side * side).fill(inside ? 0 : 1)
  for (let row = top; row < top + height; row++)
    data.fill(inside ? 1 : 0, row * side + left, row * side + left + width)
  return { data, side }
}

/** The mask at another side: a cell is kept as far as the least kept of what it covers. */
export function shrinkMask({ data, side }: KeepMask, to: number): Float32Array {
  const from = (cell: number) => Math.floor((cell * side) / to)
  const end = (cell: number) => Math.ceil(((cell + 1) * side) / to)
  return Float32Array.from({ length: to * to }, (_, cell) => {
    const [row, column] = [Math.floor(cell / to), cell % to]
    let least = 1
    for (let y = from(row); y < end(row); y++)
      for (let x = from(column); x < end(column); x++) least = Math.min(least, data[y * side + x]!)
    return least
  })
}
