import { unflattenTokens } from '@hmar/core'
import { largestDifference, readGoldens, rows } from '@hmar/native/testing'
import { Schedule } from '@hmar/scheduler'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { GenerateResult } from './result.js'
import type { GenerateOptions } from './sample-options.js'
import { HmarSampler } from './sampler.js'

const pyramid = [1, 2, 3, 4, 6, 8]
const everyLabel = Array.from({ length: 10 }, (_, label) => label)

const withLists = (lists: readonly (readonly number[])[]) =>
  lists.reduce((schedule, list, index) => schedule.refine(index + 1, list), Schedule.forPyramid(pyramid))

const usual = withLists([[1], [1, 3], [2, 3, 4], [16], [36], [64]])
const refined = withLists([[1], [1, 3], [2, 3, 4], [6, 5, 5], [12, 12, 12], [16, 16, 16, 16]])

interface Reference {
  readonly file: string
  /** Before the tensors' names. */
  readonly prefix: string
  readonly options: GenerateOptions
}

const references: Record<string, Reference> = {
  'the default': { file: 'tiny-a', prefix: 'generated_', options: { labels: everyLabel, seed: 34 } },
  'the default, spelt out': {
    file: 'tiny-a',
    prefix: 'generated_',
    options: {
      labels: everyLabel,
      seed: 34n,
      schedule: usual.guidance({ nextScale: 'linear', scale: 1.5 }).sampling({ topK: 300, topP: 0.95 }),
      batchSize: 3,
      skipNegligibleGuidance: false,
    },
  },
  greedy: {
    file: 'tiny-generations',
    prefix: 'greedy.',
    options: {
      labels: everyLabel,
      seed: 0,
      schedule: usual.guidance({ scale: 1.5 }).sampling({ topK: 1, topP: 0 }),
    },
  },
  'long, by top-p, in the middle of a larger job': {
    file: 'tiny-generations',
    prefix: 'long.',
    options: {
      labels: [3, 3, 8, 8],
      seed: 1099511627787n,
      firstImage: 5,
      schedule: refined.guidance({ scale: 2.5 }).sampling({ topK: 0, topP: 0.9 }),
    },
  },
}

describe.each(Object.entries(references))('generation: %s', (_, { file, prefix, options }) => {
  const golden = readGoldens(file)
  let sampler: HmarSampler
  let result: GenerateResult
  beforeAll(async () => {
    sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
    result = await sampler.generate({ ...options, trace: true })
  })
  afterAll(() => sampler?.close())

  it('draws the reference tokens, pass by pass', () => {
    const trace = result.trace?.map((maps) => maps.flatMap((map) => [...map]))
    expect(trace).toEqual(rows(golden.integers(`${prefix}trace`)).map((row) => [...row]))
  })

  it('ends with the reference tokens', () => {
    const expected = rows(golden.integers(`${prefix}tokens`)).map((flat) => unflattenTokens(flat, pyramid))
    expect(result.tokens).toEqual(expected)
  })

  it('paints the reference pictures, within one step of a byte', () => {
    const area = 64 * 64
    for (const [index, planes] of rows(golden.floats(`${prefix}images`)).entries()) {
      const { data } = result.images[index]!
      const expected = Float32Array.from(data, (_, i) =>
        Math.floor(255 * planes[(i % 3) * area + Math.floor(i / 3)]! + 0.5),
      )
      expect(largestDifference(data, expected)).toBeLessThanOrEqual(1)
    }
  })

  it('paints what the tokenizer decodes', async () => {
    const image = await sampler.tokenizer.decode(result.tokens[0]!)
    expect(image).toEqual(result.images[0])
  })

  it('reports the time of every pass', () => {
    const { passMs, totalMs, decodeMs, conditionMs } = result.timings
    expect(passMs).toHaveLength(result.plan.passes.length)
    expect(passMs.every((time) => time > 0)).toBe(true)
    expect(totalMs).toBeGreaterThanOrEqual(
      passMs.reduce((sum, time) => sum + time, decodeMs + conditionMs) - 1,
    )
  })
})
