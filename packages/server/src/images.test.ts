import { parseRecipe } from '@hmar/core'
import { Schedule } from '@hmar/scheduler'
import { HmarImage, readPicture, readRecipe } from '@hmar/tokenizer'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'

import type { Service } from './service.js'
import { answerOf, gather, only, serve, until } from './testing/server.js'

let server: Awaited<ReturnType<typeof serve>>
beforeAll(async () => {
  server = await serve()
})
afterAll(() => server.close())

const pixelsOf = async (png: string) => (await readPicture(Buffer.from(png, 'base64'))).data

describe('generate', () => {
  it('tells passes, a preview of each scale but the last, and the images, in order', async () => {
    const events = await gather(await server.watch('generate', { labels: ['star', null], seed: 13 }))
    expect(events.map(({ kind }) => kind).filter((kind, at, all) => kind !== all[at - 1])).toEqual([
      'queued',
      'started',
      ...Array(5).fill(['pass', 'preview']).flat(),
      'pass',
      'image',
      'done',
    ])
    const passes = only(events, 'pass')
    expect(passes.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
    expect(passes.map(({ fraction }) => fraction)).toEqual(passes.map((_, index) => (index + 1) / 10))
    expect(only(events, 'preview').map(({ scale, image }) => [scale, image])).toEqual(
      [1, 2, 3, 4, 5].flatMap((scale) => [
        [scale, 0],
        [scale, 1],
      ]),
    )
    const { images } = await server.sampler.generate({ labels: ['star', null], seed: 13 })
    for (const { image, png, recipe } of only(events, 'image')) {
      expect(await pixelsOf(png)).toEqual(Buffer.from(images[image]!.data))
      expect(await readRecipe(Buffer.from(png, 'base64'))).toEqual(recipe)
    }
  })

  it('answers with JSON, or with a file that holds its recipe', async () => {
    const request = { labels: ['heart'], seed: '18446744073709551615', image: 3, previews: false }
    const { images } = await answerOf(await server.post('generate', request))
    expect(images).toHaveLength(1)
    expect(images[0].tokens).toHaveLength(130)
    const response = await server.post('generate', request, { accept: 'image/png' })
    expect(response.headers.get('content-disposition')).toBe(
      'attachment; filename="heart-18446744073709551615-3.png"',
    )
    const file = Buffer.from(await response.arrayBuffer())
    expect(file.toString('base64')).toBe(images[0].png)
    expect((await server.sampler.reproduce(await readRecipe(file))).identical).toBe(true)
  })

  it('makes waiting requests together, each with images and a recipe of its own', async () => {
    const schedule = Schedule.default(server.sampler.model.config).guidance({ scale: 2 })
    const queue = (server.app.hmar as Service).queue('shapes')
    // It ends when all of them wait behind it.
    vi.spyOn(server.sampler, 'stream').mockImplementationOnce(async function* () {
      await until(() => queue.jobs.length === 8)
      throw new Error('enough')
    })
    const busy = server.post('generate', { labels: [0], seed: 1 })
    await until(() => queue.jobs.length === 1)
    const before = batchesOf(await metricsOf())
    const requests = Array.from({ length: 7 }, (_, label) => ({ labels: [label], previews: false, schedule }))
    const answers = await Promise.all(
      requests.map(async (request) => answerOf(await server.post('generate', request))),
    )
    expect((await busy).status).toBe(500)
    expect(batchesOf(await metricsOf()) - before).toBe(1)
    const recipes = answers.map(({ images }) => images[0].recipe)
    expect(recipes.map(({ label }) => label)).toEqual([0, 1, 2, 3, 4, 5, 6])
    expect(new Set(recipes.map(({ seed, image }) => `${seed} ${image}`)).size).toBe(7)
    for (const recipe of recipes) expect((await server.sampler.reproduce(recipe)).identical).toBe(true)
  })

  it.each([
    ['a label', { labels: ['sta'] }, 400, 'ARGUMENT_OUT_OF_RANGE', /Did you mean "star"/],
    ['no labels', { labels: [] }, 400, 'REQUEST_INVALID', /labels/],
    ['what it does not know', { labels: [1], size: 3 }, 400, 'REQUEST_INVALID', /size/],
    ['too many images', { labels: [1], count: 17 }, 400, 'ARGUMENT_OUT_OF_RANGE', /at most 16/],
    [
      'too many images in one text',
      { labels: [Array(17).fill('star').join()] },
      400,
      'ARGUMENT_OUT_OF_RANGE',
      /at most 16/,
    ],
    ['a label beyond the last', { labels: [10] }, 400, 'ARGUMENT_OUT_OF_RANGE', /0 to 9/],
    [
      'a number beyond the last',
      { labels: [1], seed: 1, image: 2 ** 32 },
      400,
      'ARGUMENT_OUT_OF_RANGE',
      /number/,
    ],
    ['a seed', { labels: [1], seed: '18446744073709551616' }, 400, 'ARGUMENT_OUT_OF_RANGE', /seed/],
    ['a number without a seed', { labels: [1], image: 3 }, 400, 'ARGUMENT_OUT_OF_RANGE', /seed/],
    [
      'a schedule',
      { labels: [1], schedule: { mask_schedule: [[2], [4], [9], [16], [36], [64]] } },
      400,
      'SCHEDULE_INVALID',
      /scale 1/,
    ],
    [
      'too many passes',
      { labels: [1], schedule: { mask_schedule: [[1], [4], [9], [16], [36], Array(64).fill(1)] } },
      400,
      'ARGUMENT_OUT_OF_RANGE',
      /at most 60/,
    ],
  ])('refuses %s before any work', async (_, request, status, code, message) => {
    const few = await serve({ limits: { passes: 60 } })
    // Beyond this point a stream would have begun.
    const response = await few.post('generate', request, { accept: 'text/event-stream' })
    const { error } = await answerOf(response)
    expect([response.status, error.code]).toEqual([status, code])
    expect(`${error.message} ${error.remedy}`).toMatch(message)
    await few.close()
  })

  it('gives one file for one image', async () => {
    const response = await server.post('generate', { labels: [1, 2] }, { accept: 'image/png' })
    expect(response.status).toBe(400)
  })
})

describe('branch', () => {
  it('keeps the first scales of another image', async () => {
    const [source] = (await answerOf(await server.post('generate', { labels: ['star'], seed: 1 }))).images
    const request = { labels: ['star'], count: 2, seed: 5, tokens: source.tokens, scales: 3 }
    const { images } = await answerOf(await server.post('branch', request))
    for (const { tokens, recipe } of images) {
      expect(tokens.slice(0, 14)).toEqual(source.tokens.slice(0, 14))
      expect(tokens).not.toEqual(source.tokens)
      expect((await server.sampler.reproduce(recipe)).identical).toBe(true)
    }
    const { picture: _, ...from } = { ...request, picture: source.png, tokens: undefined }
    const encoded = await answerOf(await server.post('branch', { ...from, picture: source.png }))
    expect(encoded.images).toHaveLength(2)
  })

  it.each([
    [{ tokens: [1], scales: 1 }, 'IMAGE_INVALID'],
    [{ tokens: Array(130).fill(5000), scales: 1 }, 'ARGUMENT_OUT_OF_RANGE'],
    [{ tokens: Array(130).fill(0), scales: 7 }, 'ARGUMENT_OUT_OF_RANGE'],
    [{ scales: 1 }, 'REQUEST_INVALID'],
  ])('refuses %j', async (request, code) => {
    const response = await server.post('branch', { labels: [1], ...request })
    expect([response.status, (await answerOf(response)).error.code]).toEqual([400, code])
  })
})

describe('edit', () => {
  it('draws anew what is bright in the mask, and puts the rest back', async () => {
    const [source] = (await answerOf(await server.post('generate', { labels: ['star'], seed: 1 }))).images
    const bright = new Uint8Array(64 * 64 * 3)
    bright.fill(255, 0, 64 * 32 * 3)
    const mask = (await new HmarImage({ data: bright, width: 64, height: 64 }).toBuffer('png')).toString(
      'base64',
    )
    const request = { labels: ['ring'], seed: 2, picture: source.png, mask, feather: 0 }
    const [edited] = (await answerOf(await server.post('edit', request))).images
    const [before, after] = [await pixelsOf(source.png), await pixelsOf(edited.png)]
    expect(after.subarray(64 * 32 * 3)).toEqual(before.subarray(64 * 32 * 3))
    expect(after.subarray(0, 64 * 32 * 3)).not.toEqual(before.subarray(0, 64 * 32 * 3))
    expect((await server.sampler.reproduce(edited.recipe)).identical).toBe(true)
    const box = { left: 0, top: 0, width: 64, height: 32 }
    const [boxed] = (await answerOf(await server.post('edit', { ...request, mask: box }))).images
    expect(boxed.recipe.pixels).toBe(edited.recipe.pixels)
  })

  it('refuses a box outside the picture', async () => {
    const png = (
      await new HmarImage({ data: new Uint8Array(12), width: 2, height: 2 }).toBuffer('png')
    ).toString('base64')
    const mask = { left: 60, top: 0, width: 8, height: 8 }
    const response = await server.post('edit', { labels: [1], picture: png, mask })
    expect([response.status, (await answerOf(response)).error.code]).toEqual([400, 'ARGUMENT_OUT_OF_RANGE'])
  })
})

describe('recipes', () => {
  it('are read from a PNG, and make its picture again', async () => {
    const file = await (await server.post('generate', { labels: [4] }, { accept: 'image/png' })).blob()
    const headers = { 'content-type': 'image/png', accept: 'application/json' }
    const read = await fetch(`${server.url}/api/recipe`, { method: 'POST', headers, body: file })
    const recipe = parseRecipe(await answerOf(read))
    expect(recipe.labelName).toBe('ring')
    const fromFile = await fetch(`${server.url}/api/models/shapes/reproduce`, {
      method: 'POST',
      headers,
      body: file,
    })
    const [again] = (await answerOf(fromFile)).images
    expect(again.recipe).toEqual(recipe)
    const fromJson = await answerOf(await server.post('reproduce', recipe))
    expect(fromJson.images[0].png).toBe(again.png)
  })

  it('are refused where they are none, or of another model', async () => {
    expect((await answerOf(await server.post('reproduce', { kind: 'soup' }))).error.code).toBe(
      'RECIPE_INVALID',
    )
    const [{ recipe }] = (await answerOf(await server.post('generate', { labels: [4] }))).images
    const model = { ...recipe.model, weights: '0'.repeat(64) }
    const { error } = await answerOf(await server.post('reproduce', { ...recipe, model }))
    expect(error.code).toBe('WEIGHTS_MISMATCH')
  })
})

const metricsOf = async () => (await fetch(`${server.url}/metrics`)).text()
const batchesOf = (text: string) =>
  Number(/^hmar_batch_images_count\{model="shapes"\} (\d+)$/m.exec(text)?.[1] ?? 0)
