import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { TokenMaps } from '@hmar/core'
import { describe, expect, it } from 'vitest'

import { HmarSampler } from './sampler.js'

const tokensWorker = new URL('testing/tokens-worker.mjs', import.meta.url)
const endlessWorker = new URL('testing/all-stages-worker.mjs', import.meta.url)
const endingProcess = new URL('testing/ending-process.mjs', import.meta.url)
const workers = 32
const stages = ['load', 'generate', 'decode', 'close'] as const
const patience = 240_000

/** Numbers below 1, the same in every run (mulberry32). */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Resolves when a worker has come to a stage. */
async function reached(worker: Worker, wanted: string): Promise<void> {
  while ((await once(worker, 'message'))[0] !== wanted);
}

async function tokensOf(options: { labels: readonly number[]; seed: number }): Promise<readonly TokenMaps[]> {
  await using sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
  return (await sampler.generate(options)).tokens
}

describe('thirty-two workers', () => {
  it(
    'make what one thread makes',
    async () => {
      const jobs = Array.from({ length: workers }, (_, index) => ({
        labels: [index % 10],
        seed: index % 4,
      }))
      const found = await Promise.all(
        jobs.map(async (workerData) => {
          const worker = new Worker(tokensWorker, { workerData, execArgv: [] })
          return ((await once(worker, 'message')) as [TokenMaps[]])[0]
        }),
      )
      const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
      for (const [index, job] of jobs.entries())
        expect(found[index]).toEqual((await sampler.generate(job)).tokens)
      await sampler.close()
    },
    patience,
  )

  it(
    'are terminated, or exit, at any moment',
    async () => {
      const next = random(1)
      const job = { labels: [4, 7], seed: 1 }
      const before = await tokensOf(job)
      const plans = Array.from({ length: workers }, (_, index) => ({
        stage: stages[index % stages.length]!,
        delay: next() * 30,
        exits: next() < 0.25,
      }))
      const ended = plans.map(async ({ stage, delay, exits }) => {
        const worker = new Worker(endlessWorker, { execArgv: [] })
        const exit = once(worker, 'exit')
        await reached(worker, stage)
        await setTimeout(delay)
        if (exits) worker.postMessage('exit')
        else await worker.terminate()
        await exit
      })
      await Promise.all(ended)
      expect(await tokensOf(job)).toEqual(before)
    },
    patience,
  )
})

describe('a process', () => {
  const endings = { exit: [7, null], throw: [1, null], interrupt: [null, 'SIGINT'] } as const
  const cases = Object.keys(endings).flatMap((ending) => stages.map((stage) => [ending, stage] as const))

  it.each(cases)(
    'that ends by %s in the middle of %s does so at once, and as it should',
    async (ending, stage) => {
      const next = random(cases.findIndex(([one, other]) => one === ending && other === stage))
      const exits = Array.from({ length: 2 }, async () => {
        const words = [fileURLToPath(endingProcess), stage, String(next() * 30), ending]
        return once(spawn(process.execPath, words, { stdio: 'ignore' }), 'exit')
      })
      for (const exit of await Promise.all(exits))
        if (process.platform !== 'win32' || ending !== 'interrupt')
          expect(exit).toEqual(endings[ending as keyof typeof endings])
    },
    patience,
  )
})
