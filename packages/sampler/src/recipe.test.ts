import { Schedule, type ScorePositions } from '@hmar/scheduler'
import { HmarImage, readRecipe } from '@hmar/tokenizer'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { keepOutside } from './keep-mask.js'
import type { GenerateProgress } from './progress.js'
import { HmarSampler } from './sampler.js'

let sampler: HmarSampler
beforeAll(async () => {
  sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
})
afterAll(() => sampler.close())

/** As it comes back from a file. */
const stored = async (image: HmarImage) => {
  const recipe = await sampler.recipe(image)
  return readRecipe(await image.toBuffer('png', { recipe }))
}

const again = async (image: HmarImage) => {
  const reproduction = await sampler.reproduce(await stored(image))
  expect(reproduction.image.data).toEqual(image.data)
  expect(reproduction.identical).toBe(true)
}

describe('a recipe', () => {
  it('makes each picture of a call again, beside which it was not alone', async () => {
    const { images } = await sampler.generate({
      labels: ['star', null, 6],
      seed: 2n ** 64n - 1n,
      firstImage: 7,
    })
    for (const image of images) await again(image)
    const recipe = await stored(images[1]!)
    expect(recipe).toMatchObject({
      label: null,
      seed: '18446744073709551615',
      image: 8,
      model: { name: 'shapes', weights: await sampler.model.fingerprint() },
      device: { id: 'cpu', dtype: 'f32', batchInvariant: false },
    })
    expect((await stored(images[0]!)).labelName).toBe('star')
  })

  it('keeps the schedule', async () => {
    const schedule = Schedule.default(sampler.model.config)
      .refine(6, { curve: 'cosine', steps: 3 })
      .positions({ kind: 'halton' }, 6)
      .guidance({ scale: 3 })
    const { images } = await sampler.generate({ labels: [2], schedule, skipNegligibleGuidance: false })
    await again(images[0]!)
    const usual = await sampler.generate({ labels: [2] })
    expect(usual.images[0]!.data).not.toEqual(images[0]!.data)
  })

  it('makes streamed pictures again, and those of a reproduction', async () => {
    for await (const event of sampler.stream({ labels: [4, 5, 6], seed: 3, batchSize: 2 })) {
      if (event.kind !== 'image') continue
      await again(event.image)
      await again((await sampler.reproduce(await sampler.recipe(event.image))).image)
    }
  })

  it('makes edits, variations and interpolations again, to the pixels that were put back', async () => {
    const { images } = await sampler.generate({ labels: ['star', 'heart'], seed: 1 })
    const [source, other] = images as [HmarImage, HmarImage]
    const mask = keepOutside({ left: 9, top: 8, width: 41, height: 48 }, sampler.side)
    const edits = [
      await sampler.edit({ source, mask, labels: ['ring', 'heart'], seed: 2 }),
      await sampler.edit({ source, mask, labels: ['ring'], seed: 2, composite: { feather: 3 } }),
      await sampler.vary({ source, scales: 3, labels: ['star'], seed: 5 }),
      await sampler.interpolate({ sources: [source, other], weight: 0.4, scales: 2 }),
    ]
    for (const image of edits.flatMap((edit) => edit.images)) await again(image)
  })

  it('needs the functions of its schedule', async () => {
    const score: ScorePositions = ({ tokens }) => Float64Array.from(tokens, (_, position) => -position)
    const schedule = Schedule.default(sampler.model.config)
      .refine(5, { curve: 'cosine', steps: 3 })
      .positions({ kind: 'custom', name: 'in order', score }, 5)
    for await (const event of sampler.stream({ labels: [1], schedule })) {
      if (event.kind !== 'image') continue
      const recipe = await stored(event.image)
      await expect(sampler.reproduce(recipe)).rejects.toMatchObject({ code: 'SCHEDULE_INVALID' })
      const { identical } = await sampler.reproduce(recipe, { functions: { 'in order': score } })
      expect(identical).toBe(true)
    }
  })
})

describe('reproduce', () => {
  it('tells how far it is, as generate does', async () => {
    const how = { labels: [3], seed: 4 }
    const [generating, reproducing] = [[] as GenerateProgress[], [] as GenerateProgress[]]
    const { images } = await sampler.generate({ ...how, onProgress: (event) => generating.push(event) })
    const recipe = await sampler.recipe(images[0]!)
    await sampler.reproduce(recipe, { onProgress: (event) => reproducing.push(event) })
    expect(reproducing).toEqual(generating)
    expect(reproducing.at(-1)).toMatchObject({ kind: 'decode', fraction: 1 })
  })

  it('says when the picture is another', async () => {
    const recipe = await sampler.recipe((await sampler.generate({ labels: [3] })).images[0]!)
    const other = { ...recipe, pixels: '0'.repeat(64) }
    expect((await sampler.reproduce(other)).identical).toBe(false)
  })

  it('refuses other weights, tokens and what is put back of another size', async () => {
    const recipe = await sampler.recipe((await sampler.generate({ labels: [3] })).images[0]!)
    const weights = { ...recipe.model, weights: '0'.repeat(64) }
    await expect(sampler.reproduce({ ...recipe, model: weights })).rejects.toMatchObject({
      code: 'WEIGHTS_MISMATCH',
      expected: 'shapes, weights 000000000000…',
    })
    const keep = { tokens: [1, 2], scales: 1 }
    await expect(sampler.reproduce({ ...recipe, keep })).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
    const small = new HmarImage({ data: new Uint8Array(3), width: 1, height: 1 })
    const source = (await small.toBuffer('png')).toString('base64')
    const fits = { tokens: Array<number>(130).fill(1), scales: 1 }
    const put = (kept: string) => ({ ...recipe, keep: fits, composite: { source, kept, feather: 0 } })
    await expect(sampler.reproduce(put('AA=='))).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
    await expect(sampler.reproduce(put('AAAA'))).rejects.toMatchObject({ code: 'RECIPE_INVALID' })
    const large = await new HmarImage({ data: new Uint8Array(3 * 65 * 65), width: 65, height: 65 }).toBuffer(
      'png',
    )
    const tooLarge = { source: large.toString('base64'), kept: 'AA==', feather: 0 }
    await expect(sampler.reproduce({ ...recipe, keep: fits, composite: tooLarge })).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
      found: '65×65',
    })
    await expect(sampler.reproduce({ kind: 'soup' })).rejects.toMatchObject({ code: 'RECIPE_INVALID' })
  })

  it('ends when aborted', async () => {
    const recipe = await sampler.recipe((await sampler.generate({ labels: [3] })).images[0]!)
    await expect(sampler.reproduce(recipe, { signal: AbortSignal.abort('enough') })).rejects.toBe('enough')
  })
})

it('is not there for pictures of sessions, which may have been interfered with', async () => {
  await using session = await sampler.open({ labels: [0] })
  const { images } = await session.finish()
  await expect(sampler.recipe(images[0]!)).rejects.toMatchObject({ code: 'RECIPE_INVALID' })
})
