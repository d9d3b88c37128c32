import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { HmarImage } from './image.js'

const data = Uint8Array.from({ length: 3 * 2 * 3 }, (_, i) => (i * 31) % 256)
const image = new HmarImage({ data, width: 3, height: 2 })

describe('HmarImage', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hmar-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  it.each(['picture.png', 'picture.webp'])('writes every pixel to %s', async (name) => {
    const path = join(folder, name)
    await image.toFile(path)
    const { data: read, info } = await sharp(path).raw().toBuffer({ resolveWithObject: true })
    expect(info).toMatchObject({ width: 3, height: 2, channels: 3 })
    expect(Uint8Array.from(read)).toEqual(data)
    expect(await readdir(folder)).toEqual([name])
  })

  it('writes JPEG by either ending, in any case', async () => {
    await image.toFile(join(folder, 'a.jpg'))
    await image.toFile(join(folder, 'b.JPEG'))
    for (const name of await readdir(folder))
      expect(await sharp(join(folder, name)).metadata()).toMatchObject({ format: 'jpeg', width: 3 })
  })

  it.each(['picture.bmp', 'picture', 'constructor.toString'])(
    'refuses %s before it writes anything',
    async (name) => {
      await expect(image.toFile(join(folder, name))).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
      expect(await readdir(folder)).toEqual([])
    },
  )

  it('refuses bytes that do not fit its size', () => {
    expect(() => new HmarImage({ data, width: 3, height: 3 })).toThrow(
      expect.objectContaining({
        code: 'IMAGE_INVALID',
        found: '18 bytes',
        expected: '27 bytes: three a pixel',
      }),
    )
  })
})
