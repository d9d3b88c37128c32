import type { Recipe } from '@hmar/core'
import sharp from 'sharp'
import { expect, it } from 'vitest'

import { HmarImage } from './image.js'
import { readRecipe } from './png-recipe.js'

const recipe: Recipe = {
  kind: 'hmar-recipe',
  version: 1,
  packages: {},
  model: { name: 'Größe 形', weights: 'a'.repeat(64) },
  device: { id: 'cpu', dtype: 'f32', batchInvariant: false },
  label: null,
  seed: '0',
  image: 0,
  schedule: { version: 1 },
  skipNegligibleGuidance: true,
  keep: { tokens: [0, 1, 2, 3, 4], scales: 1 },
  pixels: 'b'.repeat(64),
}
const data = Uint8Array.from({ length: 48 }, (_, value) => value * 5)
const image = new HmarImage({ data, width: 4, height: 4 })

it('comes back from a PNG whose pixels are the same, in any script', async () => {
  const file = await image.toBuffer('png', { recipe })
  expect(await readRecipe(file)).toEqual(recipe)
  expect(new Uint8Array(await sharp(file).raw().toBuffer())).toEqual(data)
})

it('may be long', async () => {
  const long = { ...recipe, composite: { source: 'A'.repeat(1_000_000), kept: 'AAA=', feather: 0 } }
  expect(await readRecipe(await image.toBuffer('png', { recipe: long }))).toEqual(long)
})

it.each(['jpeg', 'webp'] as const)('is refused for %s', async (format) => {
  await expect(image.toBuffer(format, { recipe })).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
})

it('is missed by name', async () => {
  await expect(readRecipe(await image.toBuffer('png'))).rejects.toMatchObject({
    code: 'RECIPE_INVALID',
    found: 'a PNG without one',
  })
  await expect(readRecipe(await image.toBuffer('jpeg'))).rejects.toMatchObject({
    code: 'RECIPE_INVALID',
    found: 'jpeg',
  })
  await expect(readRecipe(Buffer.from('hello'))).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
})

it('is refused where it is damaged', async () => {
  const file = await image.toBuffer('png', { recipe })
  const at = file.indexOf('hmar-recipe"')
  file.write('hmar-soupes"', at) // the checksum is wrong then, too
  await expect(readRecipe(file)).rejects.toMatchObject({ name: 'HmarError' })
})
