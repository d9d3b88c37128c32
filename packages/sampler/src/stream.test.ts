import { type PassState, Schedule } from '@hmar/scheduler'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'

import { HmarSampler } from './sampler.js'
import { Session } from './session.js'
import type { StreamEvent } from './stream.js'

let sampler: HmarSampler
beforeAll(async () => {
  sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
})
afterAll(() => sampler?.close())

const options = { labels: ['star', 'ring', null], seed: 11, batchSize: 2 }

const gather = async (events: AsyncIterable<StreamEvent>) => {
  const all: StreamEvent[] = []
  for await (const event of events) all.push(event)
  return all
}

describe('a stream', () => {
  it('tells every pass, every scale, and the images that generating makes', async () => {
    const { images, tokens, plan, trace } = await sampler.generate({ ...options, trace: true })
    const events = await gather(sampler.stream(options))
    const perBatch = plan.passes.flatMap(({ scale }, index) => {
      const ends = plan.passes[index + 1]?.scale !== scale
      return ends && scale < 6 ? ['pass', 'preview'] : ['pass']
    })
    expect(events.map(({ kind }) => kind)).toEqual([...perBatch, 'image', 'image', ...perBatch, 'image'])
    const made = events.filter((event) => event.kind === 'image')
    expect(made.map(({ image }) => image)).toEqual(images)
    expect(made.map((event) => event.tokens)).toEqual(tokens)
    expect(made.map(({ index }) => index)).toEqual([0, 1, 2])
    for (const event of events)
      if (event.kind === 'pass')
        for (const [offset, state] of event.images.entries())
          expect(state.tokens).toEqual(trace?.[event.firstImage + offset]?.[event.index])
    const fractions = events.map(({ fraction }) => fraction)
    expect(fractions.toSorted((a, b) => a - b)).toEqual(fractions)
    expect(fractions.at(-1)).toBe(1)
  })

  it('shows what the scales so far add up to', async () => {
    const events = await gather(sampler.stream({ ...options, labels: ['star'] }))
    const last = events.at(-1)
    if (last?.kind !== 'image') throw new Error('The last event is no image.')
    const scales = await sampler.tokenizer.decodeScales(last.tokens)
    const shown = events.filter((event) => event.kind === 'preview')
    expect(shown.map(({ images }) => images[0])).toEqual(scales.slice(0, 5))
    expect(shown.map(({ scale }) => scale)).toEqual([1, 2, 3, 4, 5])
  })

  it('leaves previews out', async () => {
    const events = await gather(sampler.stream({ ...options, previews: false }))
    expect(events.filter(({ kind }) => kind === 'preview')).toEqual([])
    expect(events.filter(({ kind }) => kind === 'image')).toHaveLength(3)
  })

  it('runs functions that choose positions: the engine’s own choice gives its pictures', async () => {
    const usual = Schedule.default(sampler.model.config)
    const score = ({ confidence }: PassState) => confidence
    const schedule = usual.positions({ kind: 'custom', name: 'confidence', score })
    const events = await gather(sampler.stream({ ...options, schedule, previews: false }))
    const made = events.filter((event) => event.kind === 'image')
    const { images } = await sampler.generate({ ...options, schedule: usual })
    expect(made.map(({ image }) => image)).toEqual(images)
  })

  it('ends where its reader leaves, and frees what it held', async () => {
    for await (const event of sampler.stream({ ...options, labels: Array(64).fill(0) }))
      if (event.kind === 'pass' && event.index === 3) break
    expect((await gather(sampler.stream(options))).at(-1)?.fraction).toBe(1)
  })

  it('works only for a reader that waits', async () => {
    const step = vi.spyOn(Session.prototype, 'step')
    const stream = sampler.stream(options)
    expect(await stream.next()).toMatchObject({ value: { kind: 'pass', index: 0 } })
    // Time enough for all passes.
    await sampler.generate(options)
    expect(step).toHaveBeenCalledTimes(1)
    expect(await stream.next()).toMatchObject({ value: { kind: 'preview', scale: 1 } })
    await stream.return()
    expect(await stream.next()).toMatchObject({ done: true })
    expect(step).toHaveBeenCalledTimes(1)
    step.mockRestore()
  })

  it('aborts between two passes', async () => {
    const controller = new AbortController()
    const seen: StreamEvent[] = []
    const read = async () => {
      for await (const event of sampler.stream({ ...options, signal: controller.signal })) {
        seen.push(event)
        if (seen.length === 5) controller.abort('enough')
      }
    }
    await expect(read()).rejects.toBe('enough')
    expect(seen).toHaveLength(5)
  })

  it('refuses bad options at its first event, before work', async () => {
    await expect(sampler.stream({ labels: [11] }).next()).rejects.toThrow(RangeError)
    await expect(sampler.stream({ labels: [0], seed: -1 }).next()).rejects.toThrow(RangeError)
  })
})
