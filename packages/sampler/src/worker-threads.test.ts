import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { TokenMaps } from '@hmar/core'
import { describe, expect, it } from 'vitest'

import { HmarSampler } from './sampler.js'

interface Sent {
  readonly saved: Uint8Array
  readonly streamed: readonly TokenMaps[]
}

describe('worker threads', () => {
  it('stream what the main thread makes, and hand their sessions over', async () => {
    await using sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
    const options = { labels: ['star', null], seed: 6 }
    const { tokens } = await sampler.generate(options)
    const script = new URL('testing/session-worker.mjs', import.meta.url)
    const messages = await Promise.all(
      [1, 2].map(async () => {
        const worker = new Worker(script, { workerData: options, execArgv: [] })
        const [sent] = (await once(worker, 'message')) as [Sent]
        return sent
      }),
    )
    for (const { saved, streamed } of messages) {
      expect(streamed).toEqual(tokens)
      await using session = await sampler.restore(saved)
      expect(session.next).toBe(5)
      expect((await session.finish()).tokens).toEqual(tokens)
    }
  })
})
