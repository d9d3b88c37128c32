import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

import type { GenerateOptions } from './sample-options.js'
import { HmarSampler } from './sampler.js'

const execute = promisify(execFile)

const options = { labels: [0, 3, null, 6, 9, 3, 1, 5], seed: 7, firstImage: 100 }

async function pictures(wanted: GenerateOptions, threads?: number): Promise<Uint8Array[]> {
  await using sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu', threads })
  const { images } = await sampler.generate(wanted)
  return images.map(({ data }) => data)
}

describe('a picture', () => {
  it.each([1, 3, 8])('is the same in batches of %i', async (batchSize) => {
    expect(await pictures({ ...options, batchSize })).toEqual(await pictures(options))
  })

  it('is the same on one thread and on two', async () => {
    expect(await pictures(options, 1)).toEqual(await pictures(options, 2))
  })

  it('is the same in another process', async () => {
    const script = fileURLToPath(new URL('testing/generate-digest.mjs', import.meta.url))
    const digests = await Promise.all(
      [1, 2].map(async (threads) => {
        const { stdout } = await execute(process.execPath, [script, JSON.stringify({ ...options, threads })])
        return stdout.trim()
      }),
    )
    const digest = createHash('sha256')
    for (const data of await pictures(options)) digest.update(data)
    expect(new Set([...digests, digest.digest('hex')]).size).toBe(1)
  })

  it('is the same wherever in a job it is made', async () => {
    const whole = await pictures(options)
    const [alone] = await pictures({
      ...options,
      labels: [options.labels[5]!],
      firstImage: options.firstImage + 5,
    })
    expect(alone).toEqual(whole[5])
  })

  it('is another with another seed, number or label', async () => {
    const one = async (changed: Partial<GenerateOptions>) =>
      (await pictures({ labels: [3], seed: 1, ...changed }))[0]
    const reference = await one({})
    for (const changed of [{ seed: 2 }, { seed: 1n + 2n ** 32n }, { firstImage: 1 }, { labels: [4] }])
      expect(await one(changed)).not.toEqual(reference)
  })
})
