import { unflattenTokens } from '@hmar/core'
import { readGoldens, rows } from '@hmar/native/testing'
import { Schedule } from '@hmar/scheduler'
import { labels, renderShape, sampleShape, seededRandom } from '@hmar/shapes'
import { loadClassifier } from '@hmar/shapes/testing'
import type { Picture } from '@hmar/tokenizer'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { type KeepMask, keepInside, keepOutside } from './keep-mask.js'
import { HmarSampler } from './sampler.js'

const side = 64
const everyLabel = [...labels.keys()]
const random = seededRandom(5)
const sources = labels.map((label) => renderShape(sampleShape(random, label)))
const [disk, square] = sources as [Picture, Picture]
const classify = loadClassifier()
/** The whole shape lies within it. */
const middle = { left: 8, top: 8, width: 48, height: 48 }

let sampler: HmarSampler
beforeAll(async () => {
  sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
})
afterAll(() => sampler?.close())

/** The root of the mean squared difference of bytes where a mask keeps. */
function keptError(pairs: readonly (readonly [Picture, Picture])[], { data }: KeepMask): number {
  let [sum, count] = [0, 0]
  for (const [a, b] of pairs)
    for (let at = 0; at < 3 * side * side; at++)
      if (data[Math.floor(at / 3)] === 1) {
        sum += (a.data[at]! - b.data[at]!) ** 2
        count++
      }
  return Math.sqrt(sum / count)
}

describe('editing', () => {
  it('draws the reference tokens of a box anew', async () => {
    const golden = readGoldens('tiny-generations')
    const [source] = rows(readGoldens('tiny-a').integers('enc_tokens'))
    const { pyramid } = sampler.model.config
    const long = [[1], [1, 3], [2, 3, 4], [6, 5, 5], [12, 12, 12], [16, 16, 16, 16]]
    const { tokens } = await sampler.edit({
      source: unflattenTokens(source!, pyramid),
      mask: { data: golden.floats('edit.keep').data, side: 8 },
      labels: [4, null],
      seed: 14,
      schedule: long
        .reduce((schedule, list, index) => schedule.refine(index + 1, list), Schedule.forPyramid(pyramid))
        .guidance({ scale: 1.5 })
        .sampling({ topK: 300, topP: 0.95 }),
    })
    const expected = rows(golden.integers('edit.tokens'))
    expect(tokens).toEqual(expected.map((flat) => unflattenTokens(flat, pyramid)))
  })

  it('puts every class in the place of another, and keeps what is around it', async () => {
    const mask = keepOutside(middle, side)
    const whole: [Picture, Picture][] = []
    const cut: [Picture, Picture][] = []
    let recognised = 0
    for (const [label, source] of sources.entries()) {
      const wanted = everyLabel.filter((other) => other !== label)
      const options = { mask, labels: wanted, seed: label }
      const { images, source: tokens } = await sampler.edit({ source, ...options })
      recognised += images.filter((image, index) => classify(image) === wanted[index]).length
      whole.push(...images.map((image): [Picture, Picture] => [source, image]))
      const composed = await sampler.edit({ source: tokens, ...options, composite: true })
      const decoded = await sampler.tokenizer.decode(tokens)
      cut.push(...composed.images.map((image): [Picture, Picture] => [decoded, image]))
    }
    const others = whole.map(([source], index): [Picture, Picture] => [source, sources[(index + 1) % 10]!])
    // Of 90; a narrow ring is kept of pictures that are drawn anew at coarse scales, too.
    expect(recognised).toBeGreaterThanOrEqual(84)
    expect(keptError(whole, mask)).toBeLessThan(30)
    expect(keptError(others, mask)).toBeGreaterThan(80)
    expect(keptError(cut, mask)).toBe(0)
  })

  it('keeps a picture the closer, the more of it is kept', async () => {
    const errors = []
    for (const width of [16, 32, 48]) {
      const mask = keepInside({ left: 64 - width, top: 0, width, height: 64 }, side)
      const pairs: [Picture, Picture][] = []
      for (const source of sources) {
        const { images } = await sampler.edit({ source, mask, labels: [null, null], seed: 2 })
        pairs.push(...images.map((image): [Picture, Picture] => [source, image]))
      }
      errors.push(keptError(pairs, keepInside({ left: 48, top: 0, width: 16, height: 64 }, side)))
    }
    expect(errors.toSorted((a, b) => b - a)).toEqual(errors)
    expect(errors[2]).toBeLessThan(6)
  })

  it('keeps the tokens that a mask keeps, at every scale', async () => {
    const mask = keepInside({ left: 0, top: 0, width: 32, height: 64 }, side)
    const { tokens, source } = await sampler.edit({ source: disk, mask, labels: [null], seed: 1 })
    for (const [index, map] of tokens[0]!.scales.entries()) {
      const p = sampler.model.config.pyramid[index]!
      const kept = [...map.keys()].filter((at) => (at % p) + 1 <= p / 2 || p === 1)
      expect(kept.map((at) => map[at])).toEqual(kept.map((at) => source.scales[index]![at]))
      if (p > 1) expect(map).not.toEqual(source.scales[index])
    }
  })

  it('gives back a picture of which everything is kept', async () => {
    const mask = { data: new Uint8Array(1).fill(1), side: 1 }
    const { tokens, source } = await sampler.edit({ source: square, mask, labels: [3, null] })
    expect(tokens).toEqual([source, source])
  })

  it('does in a stream and in a session what it does at once', async () => {
    const mask = keepOutside(middle, side)
    const { tokens, source } = await sampler.edit({ source: disk, mask, labels: ['star', 'ring'], seed: 4 })
    const options = { labels: ['star', 'ring'], seed: 4, keep: { tokens: source, mask } }
    const streamed = []
    for await (const event of sampler.stream(options)) if (event.kind === 'image') streamed.push(event.tokens)
    expect(streamed).toEqual(tokens)
    await using session = await sampler.open(options)
    await session.step()
    expect(session.last?.images[0]?.confidence).toEqual(Float32Array.of(Number.POSITIVE_INFINITY))
    await using fork = await session.fork()
    expect((await fork.finish()).tokens).toEqual(tokens)
    expect((await session.finish()).tokens).toEqual(tokens)
  })

  it('refuses what is no edit, before work', async () => {
    const mask = keepOutside(middle, side)
    const edit = (wrong: object) => sampler.edit({ source: disk, mask, ...wrong })
    const isRange = expect.objectContaining({ code: 'ARGUMENT_OUT_OF_RANGE' })
    await expect(edit({ mask: { data: new Uint8Array(3), side: 2 } })).rejects.toEqual(isRange)
    await expect(edit({ mask: undefined })).rejects.toEqual(isRange)
    await expect(edit({ labels: ['hart'] })).rejects.toThrow('heart')
    await expect(edit({ composite: { feather: -1 } })).rejects.toEqual(isRange)
    await expect(edit({ source: undefined })).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
    const small = { data: new Uint8Array(12), width: 2, height: 2 }
    await expect(edit({ source: small })).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
  })
})

describe('variation', () => {
  it.each([1, 3, 5])('keeps %i scales, and draws the others', async (scales) => {
    const options = { labels: ['disk', 'disk'], scales, seed: 8 }
    const { tokens, source, images } = await sampler.vary({ source: disk, ...options })
    for (const { scales: maps } of tokens) {
      expect(maps.slice(0, scales)).toEqual(source.scales.slice(0, scales))
      expect(maps.slice(scales)).not.toEqual(source.scales.slice(scales))
    }
    expect(images[0]).not.toEqual(images[1])
  })

  it('is the nearer to its source, the more is kept', async () => {
    const all = keepInside({ left: 0, top: 0, width: side, height: side }, side)
    const errors = []
    for (const scales of [1, 3, 5]) {
      const { images } = await sampler.vary({ source: disk, scales, labels: Array(8).fill('disk'), seed: 8 })
      errors.push(
        keptError(
          images.map((image) => [disk, image]),
          all,
        ),
      )
    }
    expect(errors.toSorted((a, b) => b - a)).toEqual(errors)
    expect(errors[2]).toBeLessThan(20)
  })

  it('refuses scales that are not there', async () => {
    for (const scales of [0, 7, 1.5])
      await expect(sampler.vary({ source: disk, scales })).rejects.toThrow(RangeError)
  })
})

describe('interpolation', () => {
  it('ends at its sources', async () => {
    const options = { scales: 3, labels: ['disk'], seed: 8 }
    for (const [weight, source] of [
      [0, disk],
      [1, square],
    ] as const) {
      const mixed = await sampler.interpolate({ sources: [disk, square], weight, ...options })
      expect(mixed.tokens).toEqual((await sampler.vary({ source, ...options })).tokens)
    }
  })

  it('goes from one to the other', async () => {
    const all = keepInside({ left: 0, top: 0, width: side, height: side }, side)
    const errors = []
    for (const weight of [0, 0.25, 0.5, 0.75, 1]) {
      const sources = [disk, square] as const
      const { images } = await sampler.interpolate({ sources, weight, scales: 6 })
      errors.push(keptError([[disk, images[0]!]], all))
    }
    expect(errors.toSorted((a, b) => a - b)).toEqual(errors)
  })

  it('refuses what lies beyond', async () => {
    const options = { sources: [disk, square], scales: 3 } as const
    for (const weight of [-0.1, 1.1, Number.NaN])
      await expect(sampler.interpolate({ ...options, weight })).rejects.toThrow(RangeError)
    await expect(sampler.interpolate({ ...options, weight: 0.5, scales: 7 })).rejects.toThrow(RangeError)
  })
})
