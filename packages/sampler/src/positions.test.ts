import { type PositionChoice, Schedule } from '@hmar/scheduler'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import type { GenerateResult } from './result.js'
import { HmarSampler } from './sampler.js'

// One scale is refined, so that a trace of its passes shows what each of them left alone.
const plain = Schedule.forPyramid([1, 2, 3, 4, 6, 8])
  .guidance({ scale: 1.5 })
  .sampling({ topK: 300, topP: 0.95 })
const steps = [9, 9, 9, 9]
const refined = plain.refine(5, steps)
const tokens = 36

let sampler: HmarSampler
beforeAll(async () => {
  sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
})
afterAll(() => sampler?.close())

const labels = [...Array(10).keys()]
const generate = (schedule: Schedule) => sampler.generate({ labels, seed: 5, schedule, trace: true })

/** The passes over scale 5 of each image. */
const maps = ({ trace, plan }: GenerateResult) =>
  trace!.map((passes) => passes.filter((_, index) => plan.passes[index]?.scale === 5))

/** Positions that changed from one map to the next. */
const changed = (before: Int32Array, after: Int32Array) =>
  [...before.keys()].filter((position) => before[position] !== after[position])

describe('positions that passes commit', () => {
  it.each([
    { kind: 'halton' },
    { kind: 'locality' },
    { kind: 'order', order: Array.from({ length: tokens }, (_, position) => tokens - 1 - position) },
  ] as PositionChoice[])('are those of the order: $kind', async (choice) => {
    const result = await generate(refined.positions(choice, 5))
    const order = result.plan.passes[4]!.positions
    if (order?.kind !== 'order') throw new Error('no fixed order')
    for (const passes of maps(result))
      for (let step = 1; step < steps.length; step++) {
        const open = order.order.slice(9 * step)
        for (const position of changed(passes[step - 1]!, passes[step]!)) expect(open).toContain(position)
      }
    // The last passes draw something anew somewhere.
    expect(maps(result).some((passes) => changed(passes[2]!, passes[3]!).length > 0)).toBe(true)
  })

  it('are at random those that the plan says', async () => {
    const result = await generate(refined.positions({ kind: 'random' }, 5))
    const { plan } = result
    for (const [image, passes] of maps(result).entries()) {
      const open = plan.openAfter({
        image,
        index: 4,
        pass: plan.passes[4]!,
        seed: 5n,
        tokens: passes[0]!,
        confidence: new Float32Array(tokens),
        logits: new Float32Array(),
        open: new Uint8Array(tokens).fill(1),
      })
      for (const position of changed(passes[0]!, passes[1]!)) expect(open[position]).toBe(1)
    }
  })

  it('are the most confident where Gumbel noise has no temperature', async () => {
    const [silent, usual] = await Promise.all([
      generate(refined.positions({ kind: 'gumbel', temperature: 0 })),
      generate(refined),
    ])
    expect(silent.tokens).toEqual(usual.tokens)
  })

  it('are others with other noise', async () => {
    const results = await Promise.all(
      [0, 0.5, 5].map((temperature) => generate(refined.positions({ kind: 'gumbel', temperature }))),
    )
    expect(
      new Set(results.map(({ tokens }) => JSON.stringify(tokens.map(({ scales }) => [...scales[4]!])))).size,
    ).toBe(3)
  })

  it('do not depend on the batch', async () => {
    for (const kind of ['random', 'gumbel', 'halton'] as const) {
      const schedule = refined.positions({ kind }).revise(5, [3, 3, 3, 3])
      const alone = await sampler.generate({
        labels: [7, 8, 9],
        firstImage: 7,
        seed: 5,
        schedule,
        batchSize: 1,
      })
      const { tokens } = await sampler.generate({ labels, seed: 5, schedule, batchSize: 10 })
      expect(alone.tokens).toEqual(tokens.slice(7, 10))
    }
  })
})

describe('revision', () => {
  const chances = (result: GenerateResult, step: number) =>
    maps(result).map((passes) => changed(passes[step - 1]!, passes[step]!).length)

  it('draws so many committed tokens anew at most', async () => {
    const result = await generate(plain.revise(5, [6]))
    expect(result.plan.passes).toHaveLength(7)
    const counts = chances(result, 1)
    expect(Math.max(...counts)).toBeLessThanOrEqual(6)
    expect(Math.max(...counts)).toBeGreaterThan(0)
  })

  it('opens no more than the plan says with open tokens beside them', async () => {
    const fixed = refined.positions({ kind: 'halton' }, 5)
    const result = await generate(fixed.revise(5, [0, 0, 4]))
    const order = result.plan.passes[4]!.positions
    if (order?.kind !== 'order') throw new Error('no fixed order')
    const committed = order.order.slice(0, 27)
    const again = maps(result).map(
      (passes) => changed(passes[2]!, passes[3]!).filter((position) => committed.includes(position)).length,
    )
    expect(Math.max(...again)).toBeLessThanOrEqual(4)
    expect(Math.max(...again)).toBeGreaterThan(0)
  })

  it('leaves a picture as it was where it revises nothing', async () => {
    const [none, usual] = await Promise.all([generate(refined.revise(5, [0, 0])), generate(refined)])
    expect(none.tokens).toEqual(usual.tokens)
  })
})

it('a schedule with a function of the caller’s own is refused, with the way to run it', async () => {
  const score = () => new Float32Array(tokens)
  const own = refined.positions({ kind: 'custom', name: 'my own', score }, 5)
  await expect(generate(own)).rejects.toThrow(
    expect.objectContaining({
      code: 'SCHEDULE_INVALID',
      found: '"my own"',
      remedy: expect.stringContaining('sampler.open()'),
    }),
  )
})
