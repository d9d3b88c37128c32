import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type FakeBinding, fakeBinding, fakeModelConfig } from '@hmar/native/testing'
import { modelPath, tokenizerPath } from '@hmar/shapes'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { HmarModel, type LogitsRequest } from './model.js'

let fake: FakeBinding
vi.mock('@hmar/native/binding', () => ({ binding: () => fake }))

const tokens = { scales: [1, 4, 16].map((length) => new Int32Array(length).fill(2)) }

let folder: string
beforeEach(async () => {
  fake = fakeBinding()
  folder = await mkdtemp(join(tmpdir(), 'hmar-'))
})
afterEach(() => rm(folder, { recursive: true }))

const write = async (...names: string[]) => {
  for (const name of names) await writeFile(join(folder, name), '')
}
const writeConfig = (config: object) => writeFile(join(folder, 'config.json'), JSON.stringify(config))
const load = (options: object = {}) => HmarModel.load({ path: 'hmar.pth', tokenizer: 'vae.pth', ...options })

describe('HmarModel.load', () => {
  it('loads one file, or two to be combined', async () => {
    await load()
    await load({ path: ['next-scale.pth', 'masked.pth'] })
    expect(fake.loads).toMatchObject([
      { paths: ['hmar.pth'], quantizer: 'vae.pth', device: 'cpu', dtype: 'f32' },
      { paths: ['next-scale.pth', 'masked.pth'] },
    ])
  })

  it('finds model and tokenizer in a folder', async () => {
    await write('hmar-d16.pth', 'vae_ch160v4096z32.pth', 'notes.txt')
    await HmarModel.load({ path: folder })
    expect(fake.loads).toMatchObject([
      { paths: [join(folder, 'hmar-d16.pth')], quantizer: join(folder, 'vae_ch160v4096z32.pth') },
    ])
  })

  it('prefers the names that the JSON gives', async () => {
    await write('hmar-d16.pth', 'vae.pth', 'a.pth', 'b.pth')
    await writeConfig({ model: { file: 'a.pth' }, tokenizer: { file: 'b.pth' } })
    const model = await HmarModel.load({ path: folder })
    expect(fake.loads).toMatchObject([{ paths: [join(folder, 'a.pth')], quantizer: join(folder, 'b.pth') }])
    expect(model.tokenizerPath).toBe(join(folder, 'b.pth'))
  })

  it('refuses to choose between models', async () => {
    await write('hmar-d16.pth', 'hmar-d20.pth', 'vae.pth')
    await expect(HmarModel.load({ path: folder })).rejects.toMatchObject({
      code: 'CONFIG_AMBIGUOUS',
      found: 'hmar-d16.pth, hmar-d20.pth',
    })
  })

  it('says that the tokenizer is missing, and how to give it', async () => {
    await write('hmar.pth')
    await expect(HmarModel.load({ path: join(folder, 'hmar.pth') })).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
      remedy: expect.stringContaining('`tokenizer`'),
    })
    expect(fake.loads).toEqual([])
  })

  it('says that the model is missing', async () => {
    const path = join(folder, 'hmar.pth')
    await expect(HmarModel.load({ path })).rejects.toThrow(`There is no model '${path}'.`)
  })

  it('knows the embedded model by name', async () => {
    await HmarModel.load({ path: 'shapes' })
    expect(fake.loads).toMatchObject([{ paths: [modelPath], quantizer: tokenizerPath }])
  })

  it('passes on the text of another JSON', async () => {
    const config = join(folder, 'other.json')
    await writeFile(config, '{ "name": "toy" }')
    await load({ config })
    expect(fake.loads).toMatchObject([{ config: '{ "name": "toy" }' }])
    await expect(load({ config: join(folder, 'missing.json') })).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
    })
  })

  it('refuses labels that are not one for each class', async () => {
    fake.modelConfig = { ...fakeModelConfig, labels: ['a', 'b'] }
    await expect(load()).rejects.toMatchObject({ code: 'CONFIG_INVALID', found: '2 labels' })
    expect(fake.calls).toEqual(['close model'])
  })

  it.each([{ path: ['one.pth'] }, { mode: 'hmar' }, { path: 3 }])('refuses %o', async (options) => {
    await expect(load(options)).rejects.toThrow(RangeError)
    expect(fake.loads).toEqual([])
  })

  it('never falls back from an explicit GPU', async () => {
    await expect(load({ device: 'cuda' })).rejects.toMatchObject({ code: 'DEVICE_UNAVAILABLE' })
    expect(fake.loads).toEqual([])
  })
})

describe('HmarModel', () => {
  const request: LogitsRequest = { tokens, label: 0, pass: 'next-scale' }

  it('takes labels as index, as name, as null and as the index after the last', async () => {
    fake.modelConfig = { ...fakeModelConfig, labels: ['disk', 'star', 'ring'] }
    await using model = await load()
    const logits = vi.spyOn(model.native, 'logits')
    for (const label of [1, 'Star', null, 3]) await model.logits({ ...request, label })
    expect(logits.mock.calls.map(([{ label }]) => label)).toEqual([1, 1, 3, 3])
  })

  it.each<[string, Partial<LogitsRequest>]>([
    ['a label beyond the null class', { label: 4 }],
    ['a fractional label', { label: 0.5 }],
    ['a name where there are none', { label: 'star' }],
    ['a pass that does not exist', { pass: 'all' as 'masked' }],
    ['a masked pass without positions', { pass: 'masked' }],
    ['a position beyond the pyramid', { pass: 'masked', maskedPositions: [21] }],
    ['a fractional position', { pass: 'masked', maskedPositions: [1.5] }],
    ['a token beyond the codebook', { tokens: { scales: tokens.scales.map((map) => map.map(() => 4)) } }],
  ])('refuses %s', async (_, wrong) => {
    await using model = await load()
    await expect(model.logits({ ...request, ...wrong })).rejects.toThrow(RangeError)
    expect(fake.calls).toEqual([])
  })

  it('refuses token maps of another pyramid', async () => {
    await using model = await load()
    await expect(
      model.logits({ ...request, tokens: { scales: tokens.scales.slice(1) } }),
    ).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
    })
  })

  it('refuses masked passes of models without the branch', async () => {
    fake.modelConfig = { ...fakeModelConfig, layout: 'var', branchDepth: 0 }
    await using model = await load()
    await expect(model.logits({ ...request, pass: 'masked', maskedPositions: [1] })).rejects.toThrow(
      'a var model',
    )
  })

  it('never masks the first token', async () => {
    await using model = await load()
    const logits = vi.spyOn(model.native, 'logits')
    await model.logits({ ...request, pass: 'masked', maskedPositions: [0, 3, 20] })
    expect(logits.mock.calls[0]?.[0].maskedPositions).toEqual(Int32Array.of(3, 20))
  })

  it('scores every position, or the masked ones', async () => {
    await using model = await load()
    const loss = Math.log([0, 1, 2, 3].reduce((sum, logit) => sum + Math.exp(logit), 0)) - 2
    const score = await model.score({ tokens, label: 0 })
    expect(score).toMatchObject({ positions: [1, 4, 16], accuracy: [0, 0, 0] })
    expect(score.meanLoss).toBeCloseTo(loss, 6)
    const masked = await model.score({ tokens, label: 0, pass: 'masked', maskedPositions: [0, 3, 20] })
    expect(masked.positions).toEqual([0, 1, 1])
  })

  it('waits for work when it is closed, and refuses it afterwards', async () => {
    const model = await load()
    const logits = model.logits(request)
    await model.close()
    expect(fake.calls).toEqual(['logits', 'close model'])
    await logits
    await expect(model.logits(request)).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(model.score(request)).rejects.toMatchObject({ code: 'CLOSED' })
  })

  it('can be aborted', async () => {
    await using model = await load()
    const controller = new AbortController()
    const logits = model.logits(request, { signal: controller.signal })
    controller.abort('enough')
    await expect(logits).rejects.toBe('enough')
  })
})
