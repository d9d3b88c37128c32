import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { findPictures, readPicture } from './pictures.js'

const red = [255, 0, 0]
const blue = [0, 0, 255]

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hmar-pictures-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** A picture whose middle third is red and whose sides are blue. */
async function writeStripes(name: string, width: number, height: number): Promise<string> {
  const path = join(folder, name)
  const middle = { create: { width: width / 3, height, channels: 3 as const, background: '#f00' } }
  await sharp({ create: { width, height, channels: 3, background: '#00f' } })
    .composite([{ input: middle }])
    .toFile(path)
  return path
}

const pixel = ({ data, width }: { data: Uint8Array; width: number }, x: number, y: number) => [
  ...data.subarray((y * width + x) * 3, (y * width + x) * 3 + 3),
]

describe('readPicture', () => {
  it('keeps every pixel of a picture that fits', async () => {
    const picture = await readPicture(await writeStripes('fits.png', 12, 12), 12)
    expect(picture).toEqual({ data: expect.any(Uint8Array), width: 12, height: 12 })
    expect([pixel(picture, 3, 0), pixel(picture, 4, 0), pixel(picture, 8, 11)]).toEqual([blue, red, blue])
  })

  it('crops to the middle and resizes what does not, and says so', async () => {
    const picture = await readPicture(await writeStripes('wide.png', 48, 16), 8)
    expect([picture.width, picture.height, picture.data.length]).toEqual([8, 8, 192])
    expect([pixel(picture, 0, 0), pixel(picture, 7, 7)]).toEqual([red, red])
    expect(picture.note).toMatch(/wide\.png: 48×16, cropped to its middle 16 pixels and resized to 8×8/)
  })

  it('turns a picture upright as its camera says', async () => {
    const path = join(folder, 'turned.jpg')
    await sharp(await writeStripes('tall.png', 12, 36))
      .withMetadata({ orientation: 6 })
      .toFile(path)
    const { note } = await readPicture(path, 12)
    expect(note).toContain('36×12')
  })

  it('puts white behind what is transparent, and greys into three channels', async () => {
    const path = join(folder, 'clear.png')
    await sharp({ create: { width: 4, height: 4, channels: 4, background: '#0000' } }).toFile(path)
    expect(pixel(await readPicture(path, 4), 2, 2)).toEqual([255, 255, 255])
    const grey = join(folder, 'grey.png')
    await sharp(path).flatten({ background: '#808080' }).toColourspace('b-w').toFile(grey)
    expect(pixel(await readPicture(grey, 4), 2, 2)).toEqual([128, 128, 128])
  })

  it('refuses what is no picture', async () => {
    const path = join(folder, 'page.png')
    await writeFile(path, '<html>')
    await expect(readPicture(path, 4)).rejects.toThrow(expect.objectContaining({ code: 'IMAGE_INVALID' }))
    const missing = readPicture(join(folder, 'missing.png'), 4)
    await expect(missing).rejects.toThrow(expect.objectContaining({ code: 'FILE_UNREADABLE' }))
  })
})

describe('findPictures', () => {
  it('takes files as they are and looks for pictures in folders', async () => {
    await mkdir(join(folder, 'set/star'), { recursive: true })
    for (const name of ['set/star/b.PNG', 'set/star/a.jpg', 'set/star/notes.txt', 'odd'])
      await writeFile(join(folder, name), '')
    const found = await findPictures([join(folder, 'set'), join(folder, 'odd')])
    expect(found).toEqual(['set/star/a.jpg', 'set/star/b.PNG', 'odd'].map((name) => join(folder, name)))
  })

  it('refuses a missing path and a folder without pictures', async () => {
    await mkdir(join(folder, 'empty'))
    await expect(findPictures([join(folder, 'nowhere')])).rejects.toThrow(/nowhere/)
    await expect(findPictures([join(folder, 'empty')])).rejects.toThrow('no pictures')
  })
})
