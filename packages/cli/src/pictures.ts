import { readdir, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { HmarError } from '@hmar/core'
import { readPicture as decodePicture } from '@hmar/tokenizer'

import { readInput } from './read-input.js'

/** A picture at the size a tokenizer wants. */
export interface FittedPicture {
  /** Interleaved 8-bit RGB. */
  readonly data: Uint8Array
  readonly width: number
  readonly height: number
  /** What was done to it, where anything was. */
  readonly note?: string
}

/**
 * Reads a picture file as people see it, the largest centred square of it resized to `side`.
 *
 * @throws {HmarError} `FILE_UNREADABLE`, or `IMAGE_INVALID` if it is no picture
 */
export async function readPicture(path: string, side: number): Promise<FittedPicture> {
  const file = await readInput(path)
  const { original, ...picture } = await decodePicture(file, { side }).catch((cause: HmarError) => {
    throw new HmarError('IMAGE_INVALID', `'${path}' cannot be read as a picture.`, {
      found: cause.found,
      expected: cause.expected,
      cause,
    })
  })
  const { width, height } = original
  if (width === side && height === side) return picture
  const cropped = width === height ? '' : ` cropped to its middle ${Math.min(width, height)} pixels and`
  return { ...picture, note: `${path}: ${width}×${height},${cropped} resized to ${side}×${side}` }
}

const pictureEndings = ['.png', '.jpg', '.jpeg', '.webp', '.tif', '.tiff', '.gif', '.avif']

/**
 * The files among some paths and the pictures below their folders, in order of their names.
 *
 * @throws {HmarError} `FILE_UNREADABLE` if a path is missing or there is no picture at all
 */
export async function findPictures(paths: readonly string[]): Promise<string[]> {
  const found = (await Promise.all(paths.map(picturesOf))).flat()
  if (found.length > 0) return found
  throw new HmarError('FILE_UNREADABLE', `There are no pictures in ${paths.join(', ')}.`, {
    expected: `files that end in ${pictureEndings.join(', ')}`,
  })
}

async function picturesOf(path: string): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path]
    const entries = await readdir(path, { recursive: true, withFileTypes: true })
    return entries
      .filter((entry) => entry.isFile() && pictureEndings.includes(extname(entry.name).toLowerCase()))
      .map((entry) => join(entry.parentPath, entry.name))
      .sort()
  } catch (cause) {
    throw new HmarError('FILE_UNREADABLE', `'${path}' cannot be read: ${(cause as Error).message}`, { cause })
  }
}
