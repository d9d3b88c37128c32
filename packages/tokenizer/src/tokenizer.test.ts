import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type FakeBinding, fakeBinding, fakeTokenizerConfig } from '@hmar/native/testing'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { Tokenizer } from './tokenizer.js'

let fake: FakeBinding
vi.mock('@hmar/native/binding', () => ({ binding: () => fake }))

const pyramid = [1, 2, 4]
const picture = { data: new Uint8Array(8 * 8 * 3).fill(255), width: 8, height: 8 }
const tokens = { scales: [1, 4, 16].map((length) => new Int32Array(length).fill(2)) }

let folder: string
beforeEach(async () => {
  fake = fakeBinding()
  folder = await mkdtemp(join(tmpdir(), 'hmar-'))
})
afterEach(() => rm(folder, { recursive: true }))

const load = (options: object = {}) => Tokenizer.load({ path: 'vae.pth', pyramid, ...options })

describe('Tokenizer.load', () => {
  it('computes in float32 on what there is, unless told otherwise', async () => {
    await load()
    await load({ dtype: 'bf16', device: 'cpu', threads: 3 })
    expect(fake.loads).toMatchObject([
      { paths: ['vae.pth'], device: 'cpu', dtype: 'f32' },
      { dtype: 'bf16', threads: 3 },
    ])
  })

  it('reports the bytes it read', async () => {
    const onProgress = vi.fn()
    await load({ onProgress })
    expect(onProgress.mock.calls).toEqual([
      [{ part: 'tokenizer', doneBytes: 50, totalBytes: 100, fraction: 0.5 }],
    ])
  })

  it('takes the pyramid from the JSON beside the file, unless told otherwise', async () => {
    fake.tokenizerConfig = { ...fakeTokenizerConfig, pyramid: [1, 3] }
    expect((await load({ pyramid: undefined })).pyramid).toEqual([1, 3])
    expect((await load()).pyramid).toEqual(pyramid)
  })

  it('finds the file in a folder by the name that the JSON gives, else by the usual ones', async () => {
    await writeFile(join(folder, 'vae.pth'), '')
    await Tokenizer.load({ path: folder })
    await writeFile(join(folder, 'config.json'), JSON.stringify({ tokenizer: { file: 'other.pth' } }))
    await Tokenizer.load({ path: folder })
    expect(fake.loads.map(({ paths }) => paths[0])).toEqual([
      join(folder, 'vae.pth'),
      join(folder, 'other.pth'),
    ])
  })

  it('says what it looked for in a folder without a tokenizer', async () => {
    await expect(Tokenizer.load({ path: folder })).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
      expected: expect.stringContaining('vae_ch160v4096z32.pth'),
    })
  })

  it('does not mind a JSON of another program', async () => {
    await writeFile(join(folder, 'vae.pth'), '')
    await writeFile(join(folder, 'config.json'), JSON.stringify({ tokenizer: 'bpe' }))
    await Tokenizer.load({ path: folder })
    expect(fake.loads.map(({ paths }) => paths[0])).toEqual([join(folder, 'vae.pth')])
  })

  it.each([
    { threads: 0 },
    { dtype: 'f16' },
    { device: 'gpu' },
    { path: 7 },
    { onProgress: true },
    { signal: {} },
  ])('refuses %o', async (options) => {
    await expect(load(options)).rejects.toThrow(RangeError)
    expect(fake.loads).toEqual([])
  })

  it('refuses a list that is no pyramid', async () => {
    await expect(load({ pyramid: [1, 3, 2] })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  it('can be aborted', async () => {
    const controller = new AbortController()
    const loading = load({ signal: controller.signal, onProgress: () => controller.abort('enough') })
    await expect(loading).rejects.toBe('enough')
  })
})

describe('Tokenizer', () => {
  it('encodes to a map for every scale', async () => {
    await using tokenizer = await load()
    expect(tokenizer.side).toBe(8)
    const { scales } = await tokenizer.encode(picture)
    expect(scales.map((map) => [...map])).toEqual([1, 4, 16].map((length) => Array(length).fill(1)))
  })

  it('decodes to a picture, and to one for every scale', async () => {
    await using tokenizer = await load()
    expect(await tokenizer.decode(tokens)).toMatchObject({ width: 8, height: 8 })
    const images = await tokenizer.decodeScales(tokens)
    expect(images).toHaveLength(3)
    expect(images[2]?.data).toEqual(new Uint8Array(8 * 8 * 3).fill(2))
  })

  it('tells the pyramid of tokens by their maps, and of pictures by their side, where none is known', async () => {
    await using tokenizer = await load({ pyramid: undefined })
    expect(tokenizer.side).toBeUndefined()
    expect(await tokenizer.decode(tokens)).toMatchObject({ width: 8 })
    await expect(tokenizer.decode({ scales: [new Int32Array(1), new Int32Array(5)] })).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
      message: expect.stringContaining('scale 2 is not square'),
    })
    await expect(tokenizer.encode(picture)).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
      found: '8 pixels a side',
    })
    expect(fake.calls).toEqual(['decode'])
  })

  it('refuses pictures of another size and maps of another pyramid before any work', async () => {
    await using tokenizer = await load()
    await expect(tokenizer.encode({ ...picture, width: 16, height: 4 })).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
    })
    await expect(tokenizer.decode({ scales: tokens.scales.slice(1) })).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
    })
    const outside = { scales: tokens.scales.map((map) => map.map(() => 4)) }
    await expect(tokenizer.decode(outside)).rejects.toThrow(RangeError)
    expect(fake.calls).toEqual([])
  })

  it('can be aborted, and goes on afterwards', async () => {
    await using tokenizer = await load()
    const controller = new AbortController()
    const encoding = tokenizer.encode(picture, { signal: controller.signal })
    controller.abort('enough')
    await expect(encoding).rejects.toBe('enough')
    await expect(tokenizer.encode(picture)).resolves.toHaveProperty('scales')
  })

  it('waits for work when it is closed, and refuses it afterwards', async () => {
    const tokenizer = await load()
    const encoding = tokenizer.encode(picture)
    await tokenizer.close()
    expect(fake.calls).toEqual(['encode', 'close tokenizer'])
    await encoding
    await expect(tokenizer.encode(picture)).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(tokenizer.decode(tokens)).rejects.toMatchObject({ code: 'CLOSED' })
  })
})
