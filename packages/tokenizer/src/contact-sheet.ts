import { HmarError } from '@hmar/core'

import { HmarImage } from './image.js'

/** How {@link contactSheet} lays pictures out. */
export interface ContactSheetOptions {
  /** Pictures in a row. Defaults to what makes the sheet about twice as wide as high. */
  readonly columns?: number
  /** Pixels of white around every picture. Defaults to a sixteenth of a picture's width. */
  readonly gap?: number
}

/**
 * All pictures on one, row by row.
 *
 * @param images - at least one, all of one size
 * @throws {HmarError} `IMAGE_INVALID` if there is none, or their sizes differ
 */
export function contactSheet(images: readonly HmarImage[], options: ContactSheetOptions = {}): HmarImage {
  const [first] = images
  if (!first) throw new HmarError('IMAGE_INVALID', 'A contact sheet needs at least one picture.')
  const { width, height } = first
  const stray = images.find((image) => image.width !== width || image.height !== height)
  if (stray)
    throw new HmarError('IMAGE_INVALID', 'The pictures of a contact sheet must have one size.', {
      found: `${width}×${height} and ${stray.width}×${stray.height}`,
    })
  const { columns = Math.ceil(Math.sqrt(images.length * 2)), gap = Math.ceil(width / 16) } = options
  const across = Math.min(columns, images.length)
  const rows = Math.ceil(images.length / across)
  const sheet = { width: across * (width + gap) + gap, height: rows * (height + gap) + gap }
  const data = new Uint8Array(sheet.width * sheet.height * 3).fill(255)
  images.forEach((image, index) => {
    const left = gap + (index % across) * (width + gap)
    const top = gap + Math.floor(index / across) * (height + gap)
    for (let row = 0; row < height; row++)
      data.set(
        image.data.subarray(row * width * 3, (row + 1) * width * 3),
        ((top + row) * sheet.width + left) * 3,
      )
  })
  return new HmarImage({ data, ...sheet })
}
