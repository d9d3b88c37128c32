import { checkInteger, HmarError } from '@hmar/core'

/** A picture at the size a tokenizer wants. */
export interface FittedPicture {
  /** Interleaved 8-bit RGB. */
  readonly data: Uint8Array
  readonly width: number
  readonly height: number
  /** What the file had, upright, in pixels. */
  readonly original: { readonly width: number; readonly height: number }
}

/** How to read a picture file. */
export interface ReadPictureOptions {
  /** Pixels along a side of the result. Defaults to the picture's own. */
  readonly side?: number | undefined
  /** Files of more pixels are refused before any is decoded. Defaults to 2²⁸. */
  readonly mostPixels?: number | undefined
}

const formats: readonly string[] = ['png', 'jpeg', 'webp', 'tiff', 'gif', 'heif']

/**
 * Reads a picture file as people see it: turned upright, transparency over white, its largest centred square resized.
 *
 * @param file - PNG, JPEG, WebP, TIFF, GIF or AVIF
 * @throws {HmarError} `IMAGE_INVALID` if it is no picture, or one of too many pixels
 */
export async function readPicture(
  file: Uint8Array,
  { side, mostPixels = 2 ** 28 }: ReadPictureOptions = {},
): Promise<FittedPicture> {
  if (side !== undefined) checkInteger('The side of the picture', side, 1, 16_384)
  const { default: sharp } = await import('sharp') // on demand, as everywhere
  const input = { limitInputPixels: false }
  try {
    const { format, autoOrient } = await sharp(file, input).metadata()
    const { width, height } = autoOrient
    // A drawing could ask for anything of the program that renders it.
    if (!formats.includes(format)) throw new Error(`${format}, which is not read`)
    if (width * height > mostPixels)
      throw new HmarError('IMAGE_INVALID', 'The picture has too many pixels.', {
        found: `${width}×${height}`,
        expected: `at most ${mostPixels} pixels`,
        remedy: 'Make it smaller first.',
      })
    const square = Math.min(width, height)
    const to = side ?? square
    const data = await sharp(file, input)
      .autoOrient()
      .flatten({ background: 'white' })
      .extract({ left: (width - square) >> 1, top: (height - square) >> 1, width: square, height: square })
      .resize(to, to)
      .toColourspace('srgb')
      .raw()
      .toBuffer()
    return { data, width: to, height: to, original: { width, height } }
  } catch (cause) {
    if (HmarError.isInstance(cause)) throw cause
    throw new HmarError('IMAGE_INVALID', 'These bytes cannot be read as a picture.', {
      found: (cause as Error).message,
      expected: 'PNG, JPEG, WebP, TIFF, GIF or AVIF',
      cause,
    })
  }
}
