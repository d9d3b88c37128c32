import { setTimeout as sleep } from 'node:timers/promises'
import { HmarModel } from '@hmar/model'
import { type FakeBinding, fakeBinding, fakeModelConfig, fakeTokenizerConfig } from '@hmar/native/testing'
import { Schedule } from '@hmar/scheduler'
import { Tokenizer } from '@hmar/tokenizer'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { GenerateProgress } from './progress.js'
import type { GenerateOptions } from './sample-options.js'
import { HmarSampler } from './sampler.js'

let fake: FakeBinding
vi.mock('@hmar/native/binding', () => ({ binding: () => fake }))

beforeEach(() => {
  fake = fakeBinding()
  fake.modelConfig = { ...fakeModelConfig, labels: ['disk', 'star', 'ring'] }
})

const load = (options: object = {}) =>
  HmarSampler.load({ model: 'hmar.pth', tokenizer: 'vae.pth', ...options })
const loadModel = () => HmarModel.load({ path: 'hmar.pth', tokenizer: 'vae.pth' })
const loadTokenizer = (options: object = {}) => Tokenizer.load({ path: 'vae.pth', ...options })

/** Four passes on the fake's pyramid. */
const schedule = Schedule.forPyramid([1, 2, 4]).refine(2, [1, 3])

describe('HmarSampler.load', () => {
  it('loads the model, and the tokenizer that it took its codebook from', async () => {
    const parts: string[] = []
    await using sampler = await load({
      dtype: 'bf16',
      threads: 3,
      onProgress: ({ part }: { part: string }) => parts.push(part),
    })
    expect(fake.loads).toMatchObject([
      { paths: ['hmar.pth'], quantizer: 'vae.pth', dtype: 'bf16', threads: 3 },
      { paths: ['vae.pth'], dtype: 'bf16', threads: 3 },
    ])
    expect(parts).toEqual(['model', 'tokenizer'])
    expect(sampler.tokenizer.pyramid).toEqual(sampler.model.config.pyramid)
    expect(sampler.side).toBe(8)
  })

  it('closes what it loaded', async () => {
    const sampler = await load()
    const { model, tokenizer } = sampler
    await sampler.close()
    expect([sampler.closed, model.closed, tokenizer.closed]).toEqual([true, true, true])
    expect(fake.calls.sort()).toEqual(['close model', 'close sampler', 'close tokenizer'])
  })

  it('leaves what it was given to its owner', async () => {
    const [model, tokenizer] = [await loadModel(), await loadTokenizer()]
    const sampler = await HmarSampler.load({ model, tokenizer })
    expect(fake.loads).toHaveLength(2)
    await sampler.close()
    expect([model.closed, tokenizer.closed]).toEqual([false, false])
  })

  it('closes with what it was given', async () => {
    const model = await loadModel()
    const sampler = await HmarSampler.load({ model })
    await model.close()
    expect([sampler.closed, sampler.tokenizer.closed]).toEqual([true, true])
    expect(fake.calls.indexOf('close sampler')).toBeLessThan(fake.calls.indexOf('close model'))
  })

  it('closes the model if the tokenizer cannot be loaded', async () => {
    fake.NativeTokenizer.load = () => Promise.reject(new Error('damaged'))
    await expect(load()).rejects.toMatchObject({ code: 'INTERNAL' })
    expect(fake.calls).toEqual(['close model'])
  })

  it('refuses a tokenizer of another model', async () => {
    fake.tokenizerConfig = { ...fakeTokenizerConfig, codebookSize: 8 }
    await expect(load()).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      found: 'codes 8',
      expected: 'codes 4',
    })
    expect(fake.calls).toEqual(['close model', 'close tokenizer'])
    fake.tokenizerConfig = fakeTokenizerConfig
    const tokenizer = await loadTokenizer({ pyramid: [1, 3] })
    await expect(load({ tokenizer })).rejects.toMatchObject({ code: 'CONFIG_INVALID', found: 'pyramid 1 3' })
  })

  it('refuses a model that is closed', async () => {
    const model = await loadModel()
    await model.close()
    await expect(HmarSampler.load({ model })).rejects.toMatchObject({ code: 'CLOSED' })
  })

  it.each([{ model: 7 }, { model: ['one.pth'] }, { tokenizer: {} }, { device: 'gpu' }, { threads: 1.5 }])(
    'refuses %o',
    async (options) => {
      await expect(load(options)).rejects.toThrow(RangeError)
      expect(fake.loads).toEqual([])
    },
  )
})

describe('generate', () => {
  it('gives an image and its tokens for each label', async () => {
    await using sampler = await load()
    const { images, tokens, timings, plan, trace } = await sampler.generate({
      labels: ['star', 'RING', 0, null],
      schedule,
    })
    expect(images).toHaveLength(4)
    expect(images[2]).toMatchObject({ width: 8, height: 8, data: new Uint8Array(8 * 8 * 3).fill(2) })
    expect(tokens[3]?.scales).toEqual([1, 4, 16].map((length) => new Int32Array(length).fill(3)))
    expect(timings.passMs).toHaveLength(4)
    expect(plan.hash).toBe(schedule.compile().hash)
    expect(trace).toBeUndefined()
    expect(fake.requests[0]).toMatchObject({
      labels: [1, 2, 0, 3],
      seed: 0n,
      firstImage: 0,
      batchSize: 8,
      skipNegligibleGuidance: true,
      trace: false,
    })
  })

  it('passes on what it was asked for', async () => {
    await using sampler = await load()
    const result = await sampler.generate({
      labels: [0, 1],
      schedule,
      seed: 2n ** 64n - 1n,
      firstImage: 2 ** 32 - 2,
      batchSize: 1,
      skipNegligibleGuidance: false,
      trace: true,
    })
    expect(fake.requests[0]).toMatchObject({
      seed: 2n ** 64n - 1n,
      firstImage: 2 ** 32 - 2,
      batchSize: 1,
      skipNegligibleGuidance: false,
    })
    expect(result.trace?.[1]?.map((map) => map.length)).toEqual([1, 4, 4, 16])
  })

  it("samples by the model's own default", async () => {
    fake.modelConfig = {
      ...fakeModelConfig,
      sampling: { guidance: 2, topK: 3, schedule: [[1], [1, 3], [16]] },
    }
    await using sampler = await load()
    const { plan } = await sampler.generate({ labels: [0] })
    expect(plan.hash).toBe(Schedule.default(sampler.model.config).compile().hash)
    expect(plan.passes.at(-1)).toMatchObject({ guidance: 2, topK: 3 })
  })

  it('tells every pass and every decoding, with a fraction that ends at 1', async () => {
    await using sampler = await load()
    const events: GenerateProgress[] = []
    await sampler.generate({ labels: [0, 1], schedule, onProgress: (event) => events.push(event) })
    expect(events.map(({ kind }) => kind)).toEqual(['pass', 'pass', 'pass', 'pass', 'decode'])
    expect(events[2]).toEqual({
      kind: 'pass',
      pass: 2,
      passes: 4,
      scale: 2,
      passKind: 'masked',
      firstImage: 0,
      images: 2,
      fraction: 3 / 5,
    })
    expect(events[4]?.fraction).toBe(1)
  })

  it("tells what it takes of a GPU, and nothing of a CPU's", async () => {
    await using sampler = await load()
    expect(sampler.deviceMemory).toBeUndefined()
    expect(await sampler.profile({ labels: [0], schedule })).toEqual([])
    fake.deviceMemory = { currentBytes: 3, peakBytes: 5 }
    fake.operations = [{ name: 'attention', calls: 2, microseconds: 7 }]
    sampler.restartPeakMemory()
    expect(fake.calls).toContain('restart peak')
    expect(sampler.deviceMemory).toEqual({ currentBytes: 3, peakBytes: 5 })
    expect(await sampler.profile({ labels: [1, 2], schedule, seed: 4 })).toEqual(fake.operations)
    expect(fake.requests.at(-1)).toMatchObject({ labels: [1, 2], seed: 4n, batchSize: 8 })
    await sampler.close()
    expect(() => sampler.deviceMemory).toThrow(expect.objectContaining({ code: 'CLOSED' }))
  })

  it.each<[string, Partial<GenerateOptions>]>([
    ['label −1', { labels: [-1] }],
    ['the label after the last', { labels: [3] }],
    ['label 1.5', { labels: [1.5] }],
    ['label 2⁵³', { labels: [2 ** 53] }],
    ['label NaN', { labels: [Number.NaN] }],
    ['an unknown name', { labels: ['moon'] }],
    ['a bigint label', { labels: [1n as unknown as number] }],
    ['no labels', { labels: [] }],
    ['labels that are no array', { labels: 'star' as unknown as string[] }],
    ['a million labels and one', { labels: Array(1_000_001).fill(0) }],
    ['10⁹ labels, all missing', { labels: Array(1e9) }],
    ['a hole among the labels', { labels: Object.assign(Array(3), [0, 1]) }],
    ['seed −1', { seed: -1 }],
    ['seed 1.5', { seed: 1.5 }],
    ['seed 2⁶⁴', { seed: 2n ** 64n }],
    ['an inexact seed', { seed: 2 ** 60 }],
    ['first image −1', { firstImage: -1 }],
    ['images numbered beyond 2³²', { firstImage: 2 ** 32 - 1, labels: [0, 1] }],
    ['batch size 0', { batchSize: 0 }],
    ['batch size 1025', { batchSize: 1025 }],
    ['a schedule that is none', { schedule: { compile: true } as unknown as Schedule }],
    ['a trace that is neither true nor false', { trace: 1 as unknown as boolean }],
  ])('refuses %s before any work', async (_, wrong) => {
    await using sampler = await load()
    await expect(sampler.generate({ labels: [0], schedule, ...wrong })).rejects.toThrow(RangeError)
    expect(fake.calls).toEqual([])
  })

  it('suggests the nearest name', async () => {
    await using sampler = await load()
    await expect(sampler.generate({ labels: ['strar'] })).rejects.toThrow('Did you mean "star"?')
  })

  it('refuses schedules that do not fit the model, naming the scale', async () => {
    expect(() => schedule.refine(3, [4, 4, 7])).toThrow(expect.objectContaining({ code: 'SCHEDULE_INVALID' }))
    expect(() => schedule.refine(3, [4, 4, 7])).toThrow(/scale 3.*15.*16/)
    await using sampler = await load()
    const other = Schedule.forPyramid([1, 2, 3])
    await expect(sampler.generate({ labels: [0], schedule: other })).rejects.toMatchObject({
      code: 'SCHEDULE_INVALID',
    })
    fake.modelConfig = { ...fakeModelConfig, layout: 'next-scale', branchDepth: 0 }
    await using plain = await load()
    await expect(plain.generate({ labels: [0], schedule })).rejects.toThrow('scale 2')
    expect(fake.calls).toEqual([])
  })

  it('refuses infinite guidance', () => {
    expect(() => schedule.guidance({ scale: Number.POSITIVE_INFINITY })).toThrow(RangeError)
  })

  it('refuses images that would not fit into memory', async () => {
    fake.tokenizerConfig = { ...fakeTokenizerConfig, channelMultipliers: Array(9).fill(1) }
    await using sampler = await load()
    await expect(sampler.generate({ labels: Array(1000).fill(0), schedule })).rejects.toMatchObject({
      code: 'ARGUMENT_OUT_OF_RANGE',
      remedy: expect.stringContaining('firstImage'),
    })
  })

  it('works off concurrent calls in their order', async () => {
    await using sampler = await load()
    const firsts: number[] = []
    await Promise.all(
      [5, 6, 7].map(async (firstImage) => {
        await sampler.generate({ labels: [0], schedule, firstImage })
        firsts.push(firstImage)
      }),
    )
    expect(firsts).toEqual([5, 6, 7])
    expect(fake.requests.map(({ firstImage }) => firstImage)).toEqual([5, 6, 7])
  })

  it('stops within a pass when it is aborted, and goes on with the next call', async () => {
    await using sampler = await load()
    const controller = new AbortController()
    let passes = 0
    const aborted = sampler.generate({
      labels: [0],
      schedule,
      signal: controller.signal,
      onProgress: () => {
        passes++
        controller.abort('enough')
      },
    })
    const next = sampler.generate({ labels: [0], schedule })
    await expect(aborted).rejects.toBe('enough')
    expect(passes).toBe(1)
    await expect(next).resolves.toHaveProperty('images.length', 1)
  })

  it('drops a call that is aborted while it waits', async () => {
    await using sampler = await load()
    const controller = new AbortController()
    const first = sampler.generate({ labels: [0], schedule })
    const waiting = sampler.generate({ labels: [0], schedule, signal: controller.signal })
    controller.abort('enough')
    await expect(waiting).rejects.toBe('enough')
    await first
    await sleep(5)
    expect(fake.requests).toHaveLength(1)
  })

  it('rejects with what a listener threw', async () => {
    await using sampler = await load()
    const onProgress = () => {
      throw new Error('in the listener')
    }
    await expect(sampler.generate({ labels: [0], schedule, onProgress })).rejects.toThrow('in the listener')
  })

  it('finishes the calls it took when it is closed, and takes no more', async () => {
    const sampler = await load()
    const taken = [0, 1].map((label) => sampler.generate({ labels: [label], schedule }))
    await sampler.close()
    expect(fake.calls.slice(0, 2)).toEqual(['generate', 'generate'])
    expect(fake.calls.slice(2).sort()).toEqual(['close model', 'close sampler', 'close tokenizer'])
    await expect(Promise.all(taken)).resolves.toHaveLength(2)
    await expect(sampler.generate({ labels: [0] })).rejects.toMatchObject({ code: 'CLOSED' })
  })
})
