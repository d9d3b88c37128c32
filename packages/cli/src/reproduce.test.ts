import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readRecipe } from '@hmar/sampler'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { hmar } from './testing/hmar.js'

let folder: string
let star: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hmar-reproduce-'))
  const words = ['--label', 'heart,star', '--seed', '7', '--cfg', '2', '--out', folder]
  await hmar(['generate', ...words, '--device', 'cpu'])
  star = join(folder, 'star.png')
})
afterAll(() => rm(folder, { recursive: true }))

const reproduce = (file: string, ...words: string[]) => hmar(['reproduce', file, '--device', 'cpu', ...words])

describe('hmar reproduce', () => {
  it('makes what generate made, as the same file', async () => {
    const out = join(folder, 'again.png')
    const { code, stdout } = await reproduce(star, '--out', out)
    expect(stdout).toBe('The same: star of shapes, seed 7, image 1, all 12288 bytes of its pixels.\n')
    expect(code).toBe(0)
    expect(await readFile(out)).toEqual(await readFile(star))
  })

  it('makes what edit made, from a recipe of its own', async () => {
    await hmar([
      'edit',
      star,
      '--redraw',
      '8,8,48,48',
      '--label',
      'ring',
      '--composite',
      '2',
      '--out',
      folder,
    ])
    const recipe = join(folder, 'recipe.json')
    await writeFile(recipe, JSON.stringify(await readRecipe(await readFile(join(folder, 'star-ring.png')))))
    const { stdout, code } = await reproduce(recipe, '--json')
    expect([JSON.parse(stdout).identical, code]).toEqual([true, 0])
  })

  it('sees a pixel that was changed since, and a recipe that gives another picture', async () => {
    const touched = join(folder, 'touched.png')
    const { data, info } = await sharp(star).raw().toBuffer({ resolveWithObject: true })
    data[0]! ^= 1
    const raw = { raw: { width: info.width, height: info.height, channels: 3 as const } }
    const [changed, original] = [await sharp(data, raw).png().toBuffer(), await readFile(star)]
    const chunk = original.subarray(33, 33 + 12 + original.readUInt32BE(33))
    await writeFile(touched, Buffer.concat([changed.subarray(0, 33), chunk, changed.subarray(33)]))
    expect(await reproduce(touched)).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('1 bytes of this file were changed since'),
    })
    const other = join(folder, 'other.json')
    await writeFile(other, JSON.stringify({ ...(await readRecipe(original)), seed: '8' }))
    expect(await reproduce(other)).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(
        /^Not the same: star of shapes, seed 8.*on cpu in f32 with @hmar\/sampler/,
      ),
    })
  })

  it.each([
    ['a picture without a recipe', 'plain.png', 'RECIPE_INVALID'],
    ['JSON of another kind', 'other.json', 'RECIPE_INVALID'],
    ['broken JSON', 'broken.json', 'RECIPE_INVALID'],
    ['neither', 'notes.txt', 'IMAGE_INVALID'],
    ['other weights', 'weights.json', 'WEIGHTS_MISMATCH'],
    ['no file', 'nowhere.png', 'FILE_UNREADABLE'],
  ])('refuses %s', async (_, name, error) => {
    const recipe = await readRecipe(await readFile(star))
    const write = (file: string, content: string | Buffer) => writeFile(join(folder, file), content)
    await write('plain.png', await sharp(star).png().toBuffer())
    await write('other.json', '{"kind":"soup"}')
    await write('broken.json', '{"kind":')
    await write('notes.txt', 'hello')
    const model = { ...recipe.model, weights: '0'.repeat(64) }
    await write('weights.json', JSON.stringify({ ...recipe, model }))
    const { code, stdout } = await reproduce(join(folder, name), '--json')
    expect([code, JSON.parse(stdout).error.code]).toEqual([1, error])
  })
})
