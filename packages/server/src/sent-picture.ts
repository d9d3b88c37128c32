import { HmarError } from '@hmar/core'
import type { HmarSampler } from '@hmar/sampler'
import { type FittedPicture, readPicture } from '@hmar/tokenizer'

import type { Limits } from './options.js'
import { ServerError } from './server-error.js'

/**
 * Reads a picture that a client sent.
 *
 * @throws {ServerError} `TYPE_UNSUPPORTED` if it is none, `PICTURE_TOO_LARGE` if it has too many pixels: none is decoded then
 */
export async function readSentPicture(
  base64: string,
  { side }: HmarSampler,
  limits: Limits,
): Promise<FittedPicture> {
  try {
    return await readPicture(Buffer.from(base64, 'base64'), { side, mostPixels: limits.pixels })
  } catch (cause) {
    if (!HmarError.isInstance(cause)) throw cause
    const { found, expected, remedy } = cause
    if (remedy !== undefined)
      throw new ServerError('PICTURE_TOO_LARGE', 'The picture has too many pixels.', {
        found,
        expected,
        remedy,
      })
    throw new ServerError('TYPE_UNSUPPORTED', 'This is no picture that is read here.', {
      found,
      expected,
      cause,
    })
  }
}
