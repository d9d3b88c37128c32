import { crc32 } from 'node:zlib'
import { HmarError, parseRecipe, type Recipe } from '@hmar/core'

const keyword = 'hmar-recipe'
// The signature, and IHDR: length, type, 13 bytes, checksum.
const headBytes = 8 + 4 + 4 + 13 + 4

/** A PNG with a recipe in a text chunk behind its header, as image generators store their prompts. */
export function withRecipe(png: Buffer, recipe: Recipe): Buffer {
  const body = Buffer.from(`tEXt${keyword}\0${asciiJson(recipe)}`, 'latin1')
  const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)]
  length.writeUInt32BE(body.length - 4)
  checksum.writeUInt32BE(crc32(body))
  return Buffer.concat([png.subarray(0, headBytes), length, body, checksum, png.subarray(headBytes)])
}

/**
 * The recipe inside a PNG.
 *
 * @throws {HmarError} `IMAGE_INVALID` for bytes that are no picture, `RECIPE_INVALID` if it has no recipe, or a damaged one
 */
export async function readRecipe(file: Uint8Array): Promise<Recipe> {
  const { default: sharp } = await import('sharp') // on demand, as everywhere
  const { format, comments = [] } = await sharp(file)
    .metadata()
    .catch((cause: Error) => {
      throw new HmarError('IMAGE_INVALID', 'These bytes are no picture.', { found: cause.message, cause })
    })
  const text = comments.find((comment) => comment.keyword === keyword)?.text
  if (text === undefined)
    throw new HmarError('RECIPE_INVALID', 'The picture has no recipe.', {
      found: format === 'png' ? 'a PNG without one' : format,
      expected: 'a PNG as HMAR writes it; other programs drop the recipe when they save it',
    })
  return parseRecipe(parseJson(text))
}

/** Text chunks are Latin-1; what is beyond ASCII is escaped. */
const asciiJson = (value: unknown) =>
  JSON.stringify(value).replaceAll(
    /[\u0080-\uffff]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new HmarError('RECIPE_INVALID', `The recipe is damaged: ${(cause as Error).message}.`, { cause })
  }
}
