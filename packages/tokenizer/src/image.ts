import { extname } from 'node:path'
import { HmarError, type Recipe } from '@hmar/core'
import { writeFileAtomically } from '@hmar/native'

import { withRecipe } from './png-recipe.js'

/** Formats a picture can be encoded in. */
export type ImageFormat = 'png' | 'jpeg' | 'webp'

const formats: Readonly<Record<string, ImageFormat>> = {
  '.png': 'png',
  '.jpg': 'jpeg',
  '.jpeg': 'jpeg',
  '.webp': 'webp',
}

/** What goes into a picture's file beside its pixels. */
export interface EncodeOptions {
  /** How the picture was made: `readRecipe` finds it again. PNG alone holds it. */
  readonly recipe?: Recipe | undefined
}

/** A picture in memory. */
export class HmarImage {
  /** RGB bytes, interleaved, row-major: `[height, width, 3]`. */
  readonly data: Uint8Array
  /** In pixels. */
  readonly width: number
  /** In pixels. */
  readonly height: number

  /**
   * @param picture - its pixels, which are kept, not copied
   * @throws {HmarError} `IMAGE_INVALID` if there are not width · height · 3 bytes
   */
  constructor({
    data,
    width,
    height,
  }: { readonly data: Uint8Array; readonly width: number; readonly height: number }) {
    if (data.length !== width * height * 3)
      throw new HmarError(
        'IMAGE_INVALID',
        `A picture of ${width}×${height} pixels does not have ${data.length} bytes.`,
        {
          found: `${data.length} bytes`,
          expected: `${width * height * 3} bytes: three a pixel`,
        },
      )
    this.data = data
    this.width = width
    this.height = height
  }

  /**
   * Encodes the picture. PNG and WebP keep every pixel; JPEG has quality 92.
   *
   * @throws {HmarError} `IMAGE_INVALID` for a recipe in another format than PNG
   */
  async toBuffer(format: ImageFormat, { recipe }: EncodeOptions = {}): Promise<Buffer> {
    if (recipe !== undefined && format !== 'png')
      throw new HmarError('IMAGE_INVALID', 'Only a PNG holds a recipe.', { found: format, expected: 'png' })
    const { default: sharp } = await import('sharp') // on demand: who only wants pixels does not pay for it
    const picture = sharp(this.data, { raw: { width: this.width, height: this.height, channels: 3 } })
    switch (format) {
      case 'png': {
        const file = await picture.png().toBuffer()
        return recipe === undefined ? file : withRecipe(file, recipe)
      }
      case 'jpeg':
        return picture.jpeg({ quality: 92 }).toBuffer()
      case 'webp':
        return picture.webp({ lossless: true }).toBuffer()
    }
  }

  /**
   * Writes the picture as PNG, JPEG or WebP, whichever the name ends in. The file is there whole or not at all.
   *
   * @throws {HmarError} `IMAGE_INVALID` for another ending, `FILE_UNWRITABLE` if the file cannot be written
   */
  async toFile(path: string, options: EncodeOptions = {}): Promise<void> {
    const format = formats[extname(path).toLowerCase()]
    if (format === undefined)
      throw new HmarError(
        'IMAGE_INVALID',
        `The ending of '${path}' names no format that pictures are written in.`,
        {
          found: extname(path) || 'no ending',
          expected: Object.keys(formats).join(', '),
        },
      )
    await writeFileAtomically(path, await this.toBuffer(format, options))
  }
}
