import type { TokenMaps } from '@hmar/core'
import { type PassState, Schedule, scorePositions } from '@hmar/scheduler'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { HmarSampler } from './sampler.js'
import type { Session } from './session.js'

let sampler: HmarSampler
beforeAll(async () => {
  sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
})
afterAll(() => sampler?.close())

const schedule = Schedule.forPyramid([1, 2, 3, 4, 6, 8])
  .refine(2, [1, 3])
  .refine(5, [9, 9, 9, 9])
  .revise(5, [2, 2, 2])
  .positions({ kind: 'gumbel', temperature: 3 })
  .guidance({ scale: 1.5 })
  .sampling({ topK: 300, topP: 0.95 })
const options = { labels: ['star', null, 6], seed: 2n ** 40n + 5n, firstImage: 9, schedule }
/** The pass after the next-scale pass of scale 5. */
const refining = 6

async function stepTo(session: Session, next: number) {
  while (session.next < next) await session.step()
}

describe('a session', () => {
  it('makes the pictures that a run makes', async () => {
    const { images, tokens, plan } = await sampler.generate({ ...options, batchSize: 1 })
    await using session = await sampler.open(options)
    expect(session.last).toBeUndefined()
    for (const [index, pass] of plan.passes.entries()) {
      expect([session.next, session.done]).toEqual([index, false])
      const done = await session.step()
      expect(done).toMatchObject({ index, pass })
      expect(done).toEqual(session.last)
    }
    expect(session.done).toBe(true)
    expect(session.tokens).toEqual(tokens)
    expect(await session.pictures()).toEqual(images)
    expect(await session.finish()).toEqual({ images, tokens })
    await expect(session.step()).rejects.toThrow('All passes are done')
  })

  it('tells what a pass left of its scale, as a trace does', async () => {
    const { trace } = await sampler.generate({ ...options, trace: true })
    await using session = await sampler.open(options)
    while (!session.done) {
      const { index, pass, images } = await session.step()
      for (const [image, { tokens, confidence, open }] of images.entries()) {
        expect(tokens).toEqual(trace?.[image]?.[index])
        expect([tokens.length, confidence.length]).toEqual([pass.side ** 2, pass.side ** 2])
        expect(confidence.every((p) => p > 0 && p <= 1)).toBe(true)
        const drawn = session.plan.openCount(index) + pass.commits
        expect(open.reduce((sum, x) => sum + x)).toBe(drawn)
      }
    }
  })

  it('shows the scales as they come', async () => {
    await using session = await sampler.open({ ...options, labels: ['star'] })
    const scales: Uint8Array[] = []
    while (!session.done) {
      const { pass } = await session.step()
      const ends = session.plan.passes[session.next]?.scale !== pass.scale
      if (ends) scales.push((await session.pictures())[0]!.data)
    }
    const expected = await sampler.tokenizer.decodeScales(session.tokens[0]!)
    expect(scales).toEqual(expected.map(({ data }) => data))
  })

  it('draws from its logits', async () => {
    await using session = await sampler.open({ ...options, schedule: schedule.sampling({ topK: 1 }) })
    while (!session.done) {
      const logits = await session.logits()
      expect(await session.logits()).toEqual(logits)
      const { pass, images } = await session.step()
      for (const [image, { tokens, open }] of images.entries())
        for (const position of tokens.keys()) {
          if (open[position] === 0) continue
          const row = logits[image]!.subarray(position * 1024, (position + 1) * 1024)
          expect(row.indexOf(Math.max(...row)), `${pass.scale} ${position}`).toBe(tokens[position])
        }
    }
  })

  it('takes other tokens', async () => {
    const { tokens: other, images: pictures } = await sampler.generate({ labels: ['heart'], seed: 3 })
    await using session = await sampler.open({ ...options, labels: ['star'] })
    while (!session.done) {
      const { pass } = await session.step()
      await session.replaceTokens([other[0]!.scales[pass.scale - 1]!])
    }
    expect(session.tokens).toEqual(other)
    expect(await session.pictures()).toEqual(pictures)
  })

  it('draws at the positions that it is told to, and nowhere else', async () => {
    await using session = await sampler.open(options)
    await stepTo(session, refining)
    const before = session.last!.images
    const open = before.map((_, image) => Uint8Array.from({ length: 36 }, (_, at) => +(at % 6 === image)))
    await session.openPositions(open)
    expect(session.last!.images.map((state) => state.open)).toEqual(open)
    const { images } = await session.step()
    for (const [image, { tokens }] of images.entries()) {
      const changed = [...tokens.keys()].filter((at) => tokens[at] !== before[image]!.tokens[at])
      expect(changed.length).toBeGreaterThan(0)
      // Two more were opened by revision.
      expect(changed.filter((at) => at % 6 !== image).length).toBeLessThanOrEqual(2)
    }
  })

  it('goes on in several ways from one coarse picture', async () => {
    await using session = await sampler.open(options)
    await stepTo(session, 4)
    await using same = await session.fork()
    await using seeded = await session.fork({ seed: 1 })
    await using labelled = await session.fork({ labels: ['ring', 'ring', 'ring'] })
    await using plain = await session.fork({ schedule: Schedule.forPyramid(schedule.pyramid) })
    expect(plain.next).toBe(3)
    const results = []
    for (const one of [session, same, seeded, labelled, plain]) results.push(await one.finish())
    const [original, ...copies] = results
    expect(copies[0]).toEqual(original)
    for (const { tokens } of copies.slice(1))
      for (const [image, { scales }] of tokens.entries()) {
        expect(scales.slice(0, 3)).toEqual(original!.tokens[image]!.scales.slice(0, 3))
        expect(scales.slice(3)).not.toEqual(original!.tokens[image]!.scales.slice(3))
      }
  })

  it('is saved and restored anywhere', async () => {
    const { images, tokens } = await sampler.generate(options)
    for (const next of [0, 4, refining, 9]) {
      await using session = await sampler.open(options)
      await stepTo(session, next)
      const saved = await session.save()
      expect(await session.save()).toEqual(saved)
      await using restored = await sampler.restore(saved)
      expect([restored.next, restored.last, restored.plan.hash]).toEqual([
        next,
        session.last,
        session.plan.hash,
      ])
      expect(await restored.finish()).toEqual({ images, tokens })
    }
  })

  it('runs functions that choose positions, after they were saved, too', async () => {
    const states: PassState[] = []
    // What the schedule's own choice says of scale 5, whose four passes begin with the one before `refining`.
    const score = (state: PassState) => {
      states.push(state)
      const step = state.index - (refining - 1)
      return scorePositions({ kind: 'gumbel', temperature: 3 * ((4 - step - 1) / 4) }, state)
    }
    const own = schedule.positions({ kind: 'custom', name: 'own', score }, 5)
    const { images, tokens } = await sampler.generate(options)
    await expect(sampler.generate({ ...options, schedule: own })).rejects.toThrow('sampler.open()')
    await using session = await sampler.open({ ...options, schedule: own })
    await stepTo(session, refining + 1)
    const saved = await session.save()
    await expect(sampler.restore(saved)).rejects.toMatchObject({ code: 'SCHEDULE_INVALID' })
    await using restored = await sampler.restore(saved, { functions: { own: score } })
    expect(await session.finish()).toEqual({ images, tokens })
    expect(await restored.finish()).toEqual({ images, tokens })
    const { logits, seed, pass, open } = states[0]!
    expect([logits.length, seed, pass.scale, open.length]).toEqual([36 * 1024, options.seed, 5, 36])
    expect(states.slice(0, 4).map(({ index, image }) => [index, image])).toEqual([
      [5, 9],
      [5, 10],
      [5, 11],
      [6, 9],
    ])
  })

  it('rejects with what a function throws, and calls it again', async () => {
    const { tokens } = await sampler.generate({
      ...options,
      schedule: schedule.positions({ kind: 'least-confident' }),
    })
    let failures = 2
    const score = ({ confidence }: PassState) => {
      if (failures-- > 0) throw new TypeError('not yet')
      return confidence
    }
    const own = schedule.positions({ kind: 'custom', name: 'late', score })
    await using session = await sampler.open({ ...options, schedule: own })
    await session.step()
    await expect(session.step()).rejects.toThrow(new TypeError('not yet'))
    expect(session.next).toBe(2)
    await expect(session.step()).rejects.toThrow(new TypeError('not yet'))
    expect(session.next).toBe(2)
    expect((await session.finish()).tokens).toEqual(tokens)
    const wrong = schedule.positions({ kind: 'custom', name: 'wrong', score: () => [Number.NaN] })
    await using other = await sampler.open({ ...options, schedule: wrong })
    await expect(other.finish()).rejects.toMatchObject({ code: 'SCHEDULE_INVALID' })
  })

  it('refuses what does not fit', async () => {
    await using session = await sampler.open(options)
    const { images } = await session.step()
    const tokens = images.map((state) => state.tokens)
    await expect(session.replaceTokens(tokens.slice(1))).rejects.toThrow(RangeError)
    await expect(session.replaceTokens(tokens.map(() => Int32Array.of(1024)))).rejects.toThrow('codebook')
    await expect(session.replaceTokens(tokens.map(() => Int32Array.of(-1)))).rejects.toThrow('codebook')
    await expect(
      session.replaceTokens(
        tokens,
        tokens.map(() => Float32Array.of(2)),
      ),
    ).rejects.toThrow('probability')
    await expect(session.openPositions(tokens.map(() => Uint8Array.of(1)))).rejects.toThrow('masked pass')
    await expect(session.fork({ labels: ['star'] })).rejects.toThrow(RangeError)
    await expect(session.fork({ seed: -1 })).rejects.toThrow(RangeError)
    await stepTo(session, refining)
    const other = Schedule.forPyramid(schedule.pyramid)
    await expect(session.fork({ schedule: other })).rejects.toMatchObject({ code: 'SCHEDULE_INVALID' })
    await expect(session.fork({ schedule: {} as Schedule })).rejects.toThrow('must be a Schedule')
    await expect(sampler.open({ labels: [0], keep: { tokens: {} as TokenMaps } })).rejects.toThrow(
      'token maps',
    )
    await expect(sampler.restore([] as unknown as Uint8Array)).rejects.toThrow(RangeError)
    await expect(sampler.open({ labels: Array(1025).fill(0) })).rejects.toThrow(RangeError)
  })

  it('refuses bytes that are no session', async () => {
    await using session = await sampler.open(options)
    await session.step()
    const saved = await session.save()
    const damaged = saved.slice()
    damaged[60]! ^= 1
    for (const bytes of [new Uint8Array(), new Uint8Array(100), saved.slice(0, -1), damaged])
      await expect(sampler.restore(bytes)).rejects.toMatchObject({ code: 'SESSION_INVALID' })
  })

  it('stops when it is told to, and goes on when asked', async () => {
    await using session = await sampler.open(options)
    await expect(session.step({ signal: AbortSignal.abort('enough') })).rejects.toBe('enough')
    expect(session.next).toBe(0)
    const { tokens } = await sampler.generate(options)
    expect((await session.finish()).tokens).toEqual(tokens)
  })

  it('runs beside others on the same weights', async () => {
    await using other = await HmarSampler.load({ model: sampler.model, tokenizer: sampler.tokenizer })
    const { tokens } = await sampler.generate(options)
    const sessions = await Promise.all([sampler, other, other].map((one) => one.open(options)))
    const results = await Promise.all(sessions.map((session) => session.finish()))
    for (const result of results) expect(result.tokens).toEqual(tokens)
  })

  it('closes with its sampler', async () => {
    const other = await HmarSampler.load({ model: sampler.model, tokenizer: sampler.tokenizer })
    const session = await other.open(options)
    const stepping = session.step()
    await other.close()
    expect((await stepping).index).toBe(0)
    await expect(session.step()).rejects.toMatchObject({ code: 'CLOSED' })
    expect(() => session.tokens).toThrow('closed')
  })
})
