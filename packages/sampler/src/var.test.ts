import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TokenMaps } from '@hmar/core'
import { synthesizeCheckpoint } from '@hmar/native'
import { Schedule } from '@hmar/scheduler'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { keepOutside } from './keep-mask.js'
import { HmarSampler } from './sampler.js'
import type { Session } from './session.js'

/** A VAR model of two blocks, with the released tokenizer's shapes: pictures of 256 pixels. */
let folder: string
let sampler: HmarSampler
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hmar-var-'))
  await synthesizeCheckpoint({ depth: 2, layout: 'var', output: folder, dtype: 'bf16' })
  sampler = await HmarSampler.load({ model: folder, device: 'cpu' })
}, 120_000)
afterAll(async () => {
  await sampler?.close()
  if (folder) await rm(folder, { recursive: true })
})

const options = { labels: [207, null], seed: 4 }

async function tokensOf(session: Session): Promise<readonly TokenMaps[]> {
  await using open = session
  while (!open.done) await open.step()
  return open.tokens
}

describe('a VAR model', () => {
  it('is told by its file, and sampled as VAR is', async () => {
    expect(sampler.model.config).toMatchObject({ layout: 'var', depth: 2, branchDepth: 0 })
    await using session = await sampler.open(options)
    expect(session.plan.passes.map(({ kind }) => kind)).toEqual(Array(10).fill('next-scale'))
    expect(session.plan.passes[9]).toMatchObject({ guidance: 4, topK: 900, topP: 0.95 })
  })

  it('generates pictures, the same in a session and beside others', async () => {
    const { images, tokens } = await sampler.generate({ ...options, labels: [207] })
    expect(images).toMatchObject([{ width: 256, height: 256 }])
    const [alone] = await tokensOf(await sampler.open(options))
    expect([alone]).toEqual(tokens)
  }, 120_000)

  it('draws from the logits of teacher forcing, which has no cache', async () => {
    await using session = await sampler.open({ ...options, labels: [207] })
    const logits: Float32Array[] = []
    while (!session.done) {
      logits.push(...(await session.logits()))
      await session.step()
    }
    const [tokens] = session.tokens as [TokenMaps]
    const label = (label: number | null) => sampler.model.logits({ tokens, label, pass: 'next-scale' })
    const [conditional, unconditional] = [await label(207), await label(null)]
    let [start, largest] = [0, 0]
    for (const [index, { guidance }] of session.plan.passes.entries()) {
      for (const [at, value] of logits[index]!.entries()) {
        const guided = (1 + guidance) * conditional[start + at]! - guidance * unconditional[start + at]!
        largest = Math.max(largest, Math.abs(guided - value))
      }
      start += logits[index]!.length
    }
    expect(start).toBe(680 * 4096)
    // The same float32 logits, guided here in double precision: a rounding of numbers below 64.
    expect(largest).toBeLessThan(64 * 2 ** -24 * 3)
  }, 120_000)

  it('is saved, restored and forked with what its later scales attend to', async () => {
    const whole = await tokensOf(await sampler.open(options))
    await using session = await sampler.open(options)
    while (session.next < 6) await session.step()
    const saved = await session.save()
    expect(await tokensOf(await sampler.restore(saved))).toEqual(whole)
    const fork = await tokensOf(await session.fork({ seed: 5 }))
    for (const [image, map] of fork.entries()) {
      expect(map.scales.slice(0, 6)).toEqual(whole[image]?.scales.slice(0, 6))
      expect(map.scales[9]).not.toEqual(whole[image]?.scales[9])
    }
    expect(await tokensOf(session)).toEqual(whole)
  }, 120_000)

  it('is edited: kept tokens stay at every scale', async () => {
    const [source] = (await tokensOf(await sampler.open({ labels: [3], seed: 1 }))) as [TokenMaps]
    const mask = keepOutside({ left: 64, top: 64, width: 128, height: 128 }, sampler.side)
    const { tokens } = await sampler.edit({ source, mask, labels: [9], seed: 2 })
    const [before, after] = [source.scales[9]!, tokens[0]!.scales[9]!]
    const kept = (row: number, column: number) => row < 4 || row >= 12 || column < 4 || column >= 12
    const changed = { kept: 0, free: 0 }
    for (let cell = 0; cell < 256; cell++) {
      const where = kept(Math.floor(cell / 16), cell % 16) ? 'kept' : 'free'
      if (before[cell] !== after[cell]) changed[where]++
    }
    expect(changed.kept).toBe(0)
    expect(changed.free).toBeGreaterThan(32)
  }, 120_000)

  it('refuses masked passes', async () => {
    const schedule = Schedule.forPyramid(sampler.model.config.pyramid).refine(3, [4, 5])
    await expect(sampler.generate({ ...options, schedule })).rejects.toMatchObject({
      code: 'SCHEDULE_INVALID',
    })
  })
})
