import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { HmarModel } from '@hmar/model'
import { readGoldens } from '@hmar/native/testing'
import { Schedule } from '@hmar/scheduler'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import type { GenerateProgress } from './progress.js'
import { HmarSampler } from './sampler.js'

describe('interrupting the engine', () => {
  let sampler: HmarSampler
  beforeEach(async () => {
    sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
  })
  afterEach(() => sampler.close())

  const reference = async () => {
    const { tokens } = await sampler.generate({ labels: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], seed: 34 })
    return tokens.flatMap(({ scales }) => scales.flatMap((map) => [...map]))
  }
  const golden = [...readGoldens('tiny-a').integers('generated_tokens').data]

  it.each([0, 4, 8])('aborts after pass %i, and the next call works', async (last) => {
    const controller = new AbortController()
    const reason = new Error('changed my mind')
    const events: GenerateProgress[] = []
    const aborted = sampler.generate({
      labels: Array(64).fill(0),
      batchSize: 8,
      signal: controller.signal,
      onProgress: (event) => {
        events.push(event)
        if (event.kind === 'pass' && event.pass === last) controller.abort(reason)
      },
    })
    await expect(aborted).rejects.toBe(reason)
    expect(events).toHaveLength(last + 1)
    expect(await reference()).toEqual(golden)
  })

  it('aborts within one pass', async () => {
    const controller = new AbortController()
    let abortedAt = 0
    const aborted = sampler.generate({
      labels: Array(10_000).fill(0),
      signal: controller.signal,
      onProgress: () => {
        abortedAt ||= performance.now()
        controller.abort()
      },
    })
    await expect(aborted).rejects.toThrow(/abort/i)
    // A pass of eight takes milliseconds, the ten thousand pictures minutes.
    expect(performance.now() - abortedAt).toBeLessThan(20_000)
  })

  it('does no work for a signal that was aborted before', async () => {
    const events: GenerateProgress[] = []
    const signal = AbortSignal.abort('enough')
    await expect(
      sampler.generate({ labels: [0], signal, onProgress: (event) => events.push(event) }),
    ).rejects.toBe('enough')
    expect(events).toEqual([])
  })

  it('aborts loading', async () => {
    const controller = new AbortController()
    const loading = HmarModel.load({
      path: 'shapes',
      signal: controller.signal,
      onProgress: () => controller.abort('enough'),
    })
    await expect(loading).rejects.toBe('enough')
  })

  it('refuses what the engine would choke on, and the next call works', async () => {
    const lists = () => Schedule.forPyramid([1, 2, 3, 4, 6, 8]).refine(3, [2, 3, 5])
    expect(lists).toThrow(expect.objectContaining({ code: 'SCHEDULE_INVALID' }))
    expect(lists).toThrow(/scale 3.*10.*9/)
    for (const labels of [[-1], [10], [1001], [2 ** 53], [1.5], [], Array(1e9)])
      await expect(sampler.generate({ labels })).rejects.toThrow(RangeError)
    expect(await reference()).toEqual(golden)
  })

  it('gives two samplers at once what each gives alone', async () => {
    await using other = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
    const generate = ({ tokens }: { tokens: unknown }) => tokens
    const options = { labels: [3, 6], seed: 5 }
    const alone = generate(await sampler.generate(options))
    const together = await Promise.all(
      [sampler, other, sampler, other].map((one) => one.generate(options).then(generate)),
    )
    expect(together).toEqual([alone, alone, alone, alone])
  })

  it('survives a worker that is terminated in the middle of work', async () => {
    const busy = new URL('testing/busy-worker.mjs', import.meta.url)
    for (let i = 0; i < 4; i++) {
      const worker = new Worker(busy, { execArgv: [] })
      await once(worker, 'message')
      await worker.terminate()
    }
    expect(await reference()).toEqual(golden)
  })

  it('finishes what it is at when it is closed', async () => {
    const generating = sampler.generate({ labels: [0, 1] })
    await sampler.close()
    expect((await generating).images).toHaveLength(2)
    await expect(sampler.generate({ labels: [0] })).rejects.toMatchObject({ code: 'CLOSED' })
    await sampler.close()
  })
})
