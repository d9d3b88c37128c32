import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { type FakeBinding, fakeBinding, fakeModelConfig, fakeTokenizerConfig } from '@hmar/native/testing'
import sharp from 'sharp'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { Interrupted } from './exit-code.js'
import { hmar } from './testing/hmar.js'

let fake: FakeBinding
vi.mock('@hmar/native/binding', () => ({ binding: () => fake }))

const report = {
  format: 'pth',
  kind: 'model',
  layout: 'combined',
  modelConfig: fakeModelConfig,
  tensors: [{ name: 'pos_start', shape: [1, 1, 64], dtype: 'F32' }],
  parameters: 1_234_567,
  bytes: 4_938_268,
  metadata: { note: 'hello' },
  license: 'A Licence',
}

let folder: string
let model: string[]
beforeEach(async () => {
  fake = fakeBinding()
  fake.inspectCheckpoint = async () => JSON.stringify(report)
  folder = await mkdtemp(join(tmpdir(), 'hmar-cli-'))
  const { pyramid } = fakeModelConfig
  fake.modelConfig = { ...fakeModelConfig, labels: ['disk', 'square', 'star'] }
  fake.tokenizerConfig = { ...fakeTokenizerConfig, pyramid }
  for (const name of ['model.safetensors', 'tokenizer.safetensors']) await writeFile(join(folder, name), '')
  model = ['--model', folder]
})
afterEach(() => rm(folder, { recursive: true }))

const size = async (file: string) => {
  const { width, height } = await sharp(file).metadata()
  return [width, height]
}

describe('generate', () => {
  const out = () => join(folder, 'out')
  const written = async () => (await readdir(out())).sort()

  it('writes a picture of each class, named after it', async () => {
    const { code, stdout, stderr } = await hmar(['generate', ...model, '--out', out()])
    expect(code).toBe(0)
    expect(stderr).toContain('model.safetensors: A Licence')
    expect(stdout).toMatch(/Wrote 3 pictures/)
    expect(await written()).toEqual(['disk.png', 'square.png', 'star.png'])
    expect(await size(join(out(), 'star.png'))).toEqual([8, 8])
  })

  it('says which layout a file has that does not tell', async () => {
    await hmar(['generate', ...model, '--mode', 'var', '--out', out()])
    expect(fake.loads).toMatchObject([{ mode: 'var' }, {}])
  })

  it('makes a job in batches, each image with its number in the job', async () => {
    const words = ['--label', 'star,0', '--label', 'none', '--count', '2', '--batch-size', '4']
    const { stdout } = await hmar([
      'generate',
      ...model,
      '--out',
      out(),
      '--json',
      '--seed',
      '18446744073709551615',
      ...words,
    ])
    const { pictures, seed } = JSON.parse(stdout)
    expect(seed).toBe('18446744073709551615')
    expect(
      pictures.map(({ file, label }: { file: string; label: number }) => [basename(file), label]),
    ).toEqual([
      ['star-1.png', 2],
      ['star-2.png', 2],
      ['disk-1.png', 0],
      ['disk-2.png', 0],
      ['unconditional-1.png', null],
      ['unconditional-2.png', null],
    ])
    expect(fake.requests.map(({ labels, firstImage, seed }) => [labels, firstImage, seed])).toEqual([
      [[2, 2, 0, 0], 0, 2n ** 64n - 1n],
      [[3, 3], 4, 2n ** 64n - 1n],
    ])
    // The fake paints an image with its number.
    const pixels = await sharp(join(out(), 'unconditional-2.png')).raw().toBuffer()
    expect(pixels[0]).toBe(5 % 4)
  })

  it('adds a contact sheet', async () => {
    await hmar(['generate', ...model, '--out', out(), '--sheet'])
    expect(await size(join(out(), 'contact-sheet.png'))).toEqual([3 * 9 + 1, 8 + 2])
  })

  it('samples as the file and the options say', async () => {
    const schedule = join(folder, 'schedule.yaml')
    await writeFile(schedule, 'cfg: 3\ntop_k: 3\nmask_schedule: [[1], [1, 3], [16]]\n')
    await hmar(['generate', ...model, '--out', out(), '--label', '0', '--schedule', schedule, '--top-k', '2'])
    const [request] = fake.requests
    expect(request?.passes.map(({ kind, commits, topK }) => [kind, commits, topK])).toEqual([
      ['next-scale', 1, 2],
      ['next-scale', 1, 2],
      ['masked', 3, 2],
      ['next-scale', 16, 2],
    ])
    expect(request?.passes.at(-1)?.guidance).toBe(3)
  })

  it.each([
    ['a label', ['--label', '0,3'], /0 to 2/],
    ['a name', ['--label', 'stra'], /Did you mean "star"/],
    ['a number', ['--cfg', 'Infinity'], /guidance/i],
    ['a schedule', ['--schedule', 'BAD'], /scale 2 commits 5 tokens but has 4/],
  ])('refuses %s that does not fit before any work', async (_, words, why) => {
    await writeFile(join(folder, 'BAD'), 'mask_schedule: [[1], [1, 4], [16]]')
    const options = words.map((word) => (word === 'BAD' ? join(folder, 'BAD') : word))
    const { code, stderr } = await hmar(['generate', ...model, '--out', out(), ...options])
    expect(code).toBe(2)
    expect(stderr).toMatch(why)
    expect(fake.calls).not.toContain('generate')
    expect(await readdir(folder)).not.toContain('out')
  })

  it('stops when interrupted: what is written stays, nothing is half there', async () => {
    const controller = new AbortController()
    const generating = hmar(
      ['generate', ...model, '--out', out(), '--batch-size', '1', '--count', '50'],
      controller.signal,
    )
    await vi.waitFor(async () =>
      expect((await written()).filter((name) => name.endsWith('.png'))).not.toHaveLength(0),
    )
    controller.abort(new Interrupted('SIGINT'))
    const { code, stderr } = await generating
    expect(code).toBe(130)
    expect(stderr).toContain('Interrupted')
    const names = await written()
    expect(names.length).toBeLessThan(150)
    for (const name of names) expect(await size(join(out(), name))).toEqual([8, 8])
    expect(fake.calls.filter((call) => call.startsWith('close')).sort()).toEqual([
      'close model',
      'close sampler',
      'close tokenizer',
    ])
  })
})

describe('edit', () => {
  const out = () => join(folder, 'out')
  const picture = async () => {
    const file = join(folder, 'My Star.png')
    await sharp({ create: { width: 8, height: 8, channels: 3, background: 'white' } })
      .png()
      .toFile(file)
    return file
  }
  const edit = async (...words: string[]) =>
    hmar(['edit', await picture(), ...words, ...model, '--out', out(), '--json'])

  it('draws a box anew, as every label', async () => {
    const { code } = await edit('--redraw', '4,0,4,8', '--label', 'star,disk', '--seed', '7', '--cfg', '2')
    expect(code).toBe(0)
    expect((await readdir(out())).sort()).toEqual(['my-star-disk.png', 'my-star-star.png'])
    const [{ keep, labels, seed, passes }] = fake.requests as [(typeof fake.requests)[0]]
    expect([labels, seed, passes.at(-1)?.guidance]).toEqual([[2, 0], 7n, 2])
    expect(keep).toMatchObject({ scales: 0, tokens: new Int32Array(21).fill(1) })
    const row = [1, 1, 0, 0]
    expect([...(keep?.mask ?? [])]).toEqual([row, row, row, row].flat())
  })

  it('keeps a box, or what is dark in a mask', async () => {
    await edit('--keep', '4,0,4,8', '--composite', '1', '--count', '2')
    expect((await readdir(out())).sort()).toEqual(['my-star-edited-1.png', 'my-star-edited-2.png'])
    await edit('--mask', await picture())
    const masks = fake.requests.map(({ keep }) => [...(keep?.mask?.subarray(0, 4) ?? [])])
    expect(masks).toEqual([
      [0, 0, 1, 1],
      [0, 0, 0, 0],
    ])
  })

  it('keeps scales, its own or mixed ones', async () => {
    await edit('--keep-scales', '2')
    await edit('--keep-scales', '1', '--mix', await picture(), '--weight', '0.25')
    expect(fake.requests.map(({ keep }) => [keep?.scales, keep?.mask])).toEqual([
      [2, undefined],
      [1, undefined],
    ])
  })

  it.each([
    [[], /--redraw, --keep, --mask or --keep-scales/],
    [['--redraw', '1,2,3'], /LEFT,TOP,WIDTH,HEIGHT/],
    [['--redraw', '0,0,9,1'], /width of the box/],
    [['--redraw', '0,0,1,1', '--keep-scales', '2'], /cannot be used with/],
    [['--keep-scales', '4'], /number of scales/],
    [['--keep-scales', '2', '--mix', 'b.png', '--composite'], /cannot be used with/],
  ])('refuses %j', async (words, message) => {
    const { code, stderr } = await edit(...words)
    expect(code).toBe(2)
    expect(stderr).toMatch(message)
    expect(fake.requests).toEqual([])
  })
})

describe('encode and decode', () => {
  const tokenizer = () => ['--tokenizer', folder]

  it('crops and resizes a picture, says so, and writes its tokens', async () => {
    const picture = join(folder, 'wide.png')
    await sharp({ create: { width: 32, height: 16, channels: 3, background: '#fff' } }).toFile(picture)
    const { code, stdout, stderr } = await hmar(['encode', picture, ...tokenizer()])
    expect(code).toBe(0)
    expect(stderr).toContain('resized to 8×8')
    expect(JSON.parse(stdout)).toEqual({ scales: [[1], Array(4).fill(1), Array(16).fill(1)] })
  })

  it('decodes what was encoded', async () => {
    const tokens = join(folder, 'tokens.json')
    const picture = join(folder, 'picture.png')
    await writeFile(tokens, JSON.stringify({ scales: [[2], Array(4).fill(1), Array(16).fill(0)] }))
    const { code, stdout } = await hmar(['decode', tokens, '--out', picture, '--json', ...tokenizer()])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual({ file: picture, width: 8, height: 8 })
    expect(await size(picture)).toEqual([8, 8])
  })

  it('refuses tokens that do not fit', async () => {
    const tokens = join(folder, 'tokens.json')
    await writeFile(tokens, '{"scales": [[0], [0, 0, 0]]}')
    const { code, stderr } = await hmar(['decode', tokens, ...tokenizer()])
    expect([code, fake.calls.includes('decode')]).toEqual([1, false])
    expect(stderr).toContain('2 scales')
  })
})

describe('score', () => {
  it('scores every picture with the label of its folder', async () => {
    for (const [path, background] of [
      ['set/star/1.png', '#fff'],
      ['set/star/2.png', '#000'],
      ['set/1/1.png', '#000'],
    ] as const) {
      await mkdir(join(folder, path, '..'), { recursive: true })
      await sharp({ create: { width: 8, height: 8, channels: 3, background } }).toFile(join(folder, path))
    }
    // Of four codes, white becomes 1 and black 0.
    fake.logits = [Math.log(0.5), Math.log(0.25), Math.log(0.125), Math.log(0.125)]
    const { code, stdout } = await hmar(['score', join(folder, 'set'), ...model, '--json'])
    expect(code).toBe(0)
    const { labels, total } = JSON.parse(stdout)
    expect(labels).toMatchObject([
      { label: 'square', pictures: 1, meanAccuracy: 1 },
      { label: 'star', pictures: 2, meanAccuracy: 0.5, accuracy: [0.5, 0.5, 0.5] },
    ])
    expect(labels[0].meanLoss).toBeCloseTo(Math.LN2)
    expect(labels[1].meanLoss).toBeCloseTo(1.5 * Math.LN2)
    expect(total.pictures).toBe(3)
    expect(total.meanLoss).toBeCloseTo((4 / 3) * Math.LN2)
    const { stdout: table } = await hmar(['score', join(folder, 'set'), ...model])
    expect(table).toMatch(/star +2 +1\.0397 +50\.0%/)
    expect(table).toMatch(/4×4 +0\.9242 +66\.7%/)
  })

  it('refuses a folder that is no label before it starts', async () => {
    await mkdir(join(folder, 'set/stars'), { recursive: true })
    await sharp({ create: { width: 8, height: 8, channels: 3, background: '#fff' } }).toFile(
      join(folder, 'set/stars/1.png'),
    )
    const { code, stderr } = await hmar(['score', join(folder, 'set'), ...model])
    expect(code).toBe(2)
    expect(stderr).toContain('"star"')
    expect(fake.calls).not.toContain('encode')
  })
})

describe('info, convert, synthesize and devices', () => {
  it('says what a file is, and its licence', async () => {
    const { stdout } = await hmar(['info', 'hmar.pth', '--tensors'])
    for (const line of [
      /layout +combined/,
      /parameters +1,234,567/,
      /size +4\.9 MB/,
      /licence +A Licence/,
      /pyramid +1 2 4/,
    ])
      expect(stdout).toMatch(line)
    expect(stdout).toMatch(/note: hello/)
    expect(stdout).toMatch(/pos_start +F32 +1×1×64/)
    expect(JSON.parse((await hmar(['info', 'hmar.pth', '--json'])).stdout)).toMatchObject({
      parameters: 1_234_567,
    })
  })

  it('converts the files before the last into the last', async () => {
    const convert = vi.spyOn(fake, 'convertCheckpoint')
    const { code, stdout } = await hmar(['convert', 'a.pth', 'b.pth', 'c.safetensors', '--dtype', 'bf16'])
    expect(code).toBe(0)
    expect(stdout).toContain('c.safetensors: 2 parameters, 3 B')
    expect(convert.mock.calls[0]?.[0]).toMatchObject({
      inputs: ['a.pth', 'b.pth'],
      output: 'c.safetensors',
      dtype: 'bf16',
    })
  })

  it('synthesizes what was asked for', async () => {
    const synthesize = vi.spyOn(fake, 'synthesizeCheckpoint')
    const { code } = await hmar([
      'synthesize',
      '--depth',
      '20',
      '--layout',
      'var',
      '--resolution',
      '512',
      folder,
    ])
    expect(code).toBe(0)
    expect(synthesize.mock.calls[0]?.[0]).toEqual({
      depth: 20,
      layout: 'var',
      resolution: 512,
      output: folder,
      dtype: 'f32',
    })
  })

  it('lists devices, and why one is missing', async () => {
    fake.devices = [
      { id: 'cpu', kind: 'cpu', name: 'A processor', available: true, threads: 2, features: ['avx2'] },
      { id: 'cuda', kind: 'cuda', name: 'CUDA', available: false, reason: 'no driver', features: [] },
    ]
    const { stdout } = await hmar(['devices'])
    expect(stdout).toMatch(/cpu +A processor\n +2 threads, avx2\ncuda +CUDA\n +not available: no driver/)
  })
})
