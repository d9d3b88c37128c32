import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createConnection } from 'node:net'
import { HmarError, type Recipe } from '@hmar/core'
import { HmarImage } from '@hmar/sampler'
import sharp from 'sharp'
import { afterEach, describe, expect, it, vi } from 'vitest'

import type { Service } from './service.js'
import { answerOf, gather, only, serve, until } from './testing/server.js'

let server: Awaited<ReturnType<typeof serve>>
const start = async (...options: Parameters<typeof serve>) => {
  server = await serve(...options)
  return server
}
afterEach(() => server.close())

const queue = () => (server.app.hmar as Service).queue('shapes')
/** So much that it is under way until somebody ends it. */
const long = { labels: ['star'], count: 16, seed: 1 }
const works = async () => {
  const { images } = await answerOf(await server.post('generate', { labels: ['star'] }))
  expect(images).toHaveLength(1)
}

/** A connection of its own, for what fetch does not do. */
async function raw(text: string) {
  const socket = createConnection(server.port, '127.0.0.1')
  let said = ''
  socket.setEncoding('utf8').on('data', (part: string) => {
    said += part
  })
  await once(socket, 'connect')
  socket.write(text)
  return { socket, said: () => said, ended: once(socket, 'close') }
}

describe('a flood (22)', () => {
  it('is told positions and waits, and beyond the queue 429 with Retry-After', async () => {
    await start({ limits: { queue: 2, perClient: 100 } })
    await works() // a measure to estimate by
    const leave = new AbortController()
    const first = await server.watch('generate', long, leave.signal)
    await first.next()
    const second = gather(await server.watch('generate', { labels: [1], seed: 1 }))
    const third = gather(await server.watch('generate', { labels: [2], seed: 1 }))
    const refused = await server.post('generate', { labels: [3] })
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect((await answerOf(refused)).error.code).toBe('QUEUE_FULL')
    leave.abort()
    const positions = only(await third, 'queued')
    expect(positions.map(({ position }) => position)).toEqual([1, 0])
    for (const { waitMs } of positions) expect(waitMs).toBeGreaterThan(0)
    for (const events of [await second, await third]) expect(events.at(-1)?.kind).toBe('done')
    await works()
  })

  it('of one client is stopped at its share', async () => {
    await start({ limits: { perClient: 1 } })
    const leave = new AbortController()
    const first = await server.watch('generate', long, leave.signal)
    await first.next()
    const refused = await server.post('generate', { labels: [3] })
    expect([refused.status, (await answerOf(refused)).error.code]).toEqual([429, 'CLIENT_LIMIT'])
    expect(refused.headers.has('retry-after')).toBe(true)
    leave.abort()
    await until(() => queue().jobs.length === 0)
    await works()
  })
})

describe('a client (23)', () => {
  it('that leaves has its work cancelled, running or waiting', async () => {
    await start()
    const stream = vi.spyOn(server.sampler, 'stream')
    const leave = new AbortController()
    const events = await server.watch('generate', long, leave.signal)
    const waiting = await server.watch('generate', { labels: [1], seed: 9 }, leave.signal)
    await events.next()
    await waiting.next()
    expect(queue().jobs).toHaveLength(2)
    leave.abort()
    await until(() => queue().jobs.length === 0)
    await works()
    // What waited never began.
    expect(stream).toHaveBeenCalledTimes(2)
    const metrics = await (await fetch(`${server.url}/metrics`)).text()
    expect(metrics).toContain('hmar_requests_total{model="shapes",outcome="CLIENT_GONE"} 2')
  })

  it('that leaves while its request is read has no work begun', async () => {
    await start()
    const { images } = await answerOf(await server.post('generate', { labels: ['star'] }))
    const fromRecipe = server.sampler.fromRecipe.bind(server.sampler)
    const leave = new AbortController()
    const left = new Promise<void>((resolve) => {
      server.app.server.on('request', (_, response) => response.once('close', resolve))
    })
    vi.spyOn(server.sampler, 'fromRecipe').mockImplementation(async (recipe) => {
      leave.abort()
      await left
      return fromRecipe(recipe)
    })
    await expect(server.post('reproduce', images[0].recipe, { signal: leave.signal })).rejects.toThrow()
    const metrics = async () => (await fetch(`${server.url}/metrics`)).text()
    const gone = 'hmar_requests_total{model="shapes",outcome="CLIENT_GONE"} 1'
    await vi.waitFor(async () => expect(await metrics()).toContain(gone), 10_000)
  })

  it('that leaves takes nobody of its batch with it', async () => {
    await start()
    const busy = gather(await server.watch('generate', { labels: [0], seed: 3 }))
    const leave = new AbortController()
    const leaving = await server.watch('generate', { labels: [1] }, leave.signal)
    const staying = await server.watch('generate', { labels: [2] })
    await busy
    await leaving.next()
    leave.abort()
    const events = await gather(staying)
    expect(only(events, 'image')[0]!.recipe.label).toBe(2)
    expect(events.at(-1)?.kind).toBe('done')
  })

  it('that takes nothing of what is written is left', async () => {
    await start({ limits: { stallMs: 100 } })
    // More than the buffers on the way hold.
    const data = randomBytes(500 * 500 * 3)
    const image = new HmarImage({ data, width: 500, height: 500 })
    vi.spyOn(server.sampler, 'recipe').mockImplementation(async () => ({}) as Recipe)
    vi.spyOn(server.sampler, 'stream').mockImplementation(async function* ({ signal }) {
      for (let index = 0; ; index = 0) {
        await new Promise((resolve) => setTimeout(resolve, 1))
        signal!.throwIfAborted()
        yield { kind: 'image', index, image, tokens: { scales: [] }, fraction: 0 }
      }
    })
    const body = JSON.stringify({ labels: [1, 2], seed: 1 })
    const { socket, ended } = await raw(
      `POST /api/models/shapes/generate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\naccept: text/event-stream\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
    socket.pause()
    await until(() => queue().jobs.length === 1)
    await until(() => queue().jobs.length === 0)
    socket.resume().on('error', () => {})
    await ended
    const metrics = await (await fetch(`${server.url}/metrics`)).text()
    expect(metrics).toContain('outcome="CLIENT_GONE"} 1')
  })

  it('that sends its body too slowly gets 408, and the connection is closed', async () => {
    await start({ limits: { bodyMs: 100 } })
    const { said, ended } = await raw(
      'POST /api/models/shapes/generate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{"labels"',
    )
    await ended
    expect(said()).toMatch(/^HTTP\/1\.1 408 .*BODY_TIMED_OUT/s)
    await works()
  })

  it('that asks for too much time is told so', async () => {
    await start({ limits: { requestMs: 30 } })
    const response = await server.post('generate', { ...long, count: 16 })
    expect([response.status, (await answerOf(response)).error.code]).toEqual([504, 'TIMED_OUT'])
    const [error] = only(await gather(await server.watch('generate', long)), 'error')
    expect(error?.error.code).toBe('TIMED_OUT')
    await until(() => queue().jobs.length === 0)
  })
})

describe('a body (24)', () => {
  const limits = { bodyBytes: 10_000, pixels: 10_000 }

  it('that is too large is refused while it comes, announced or not', async () => {
    await start({ limits })
    const head = 'POST /api/models/shapes/generate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n'
    const announced = await raw(`${head}content-length: 20000\r\n\r\n{`)
    await until(() => announced.said() !== '')
    expect(announced.said()).toMatch(/^HTTP\/1\.1 413 .*BODY_TOO_LARGE/s)
    const chunked = await raw(`${head}transfer-encoding: chunked\r\n\r\n`)
    // It never ends by itself.
    const timer = setInterval(() => chunked.socket.write(`400\r\n${' '.repeat(1024)}\r\n`), 1)
    chunked.socket.on('error', () => {})
    await until(() => chunked.said() !== '')
    clearInterval(timer)
    expect(chunked.said()).toMatch(/^HTTP\/1\.1 413 .*BODY_TOO_LARGE/s)
    for (const { socket } of [announced, chunked]) socket.destroy()
    await works()
  })

  it('with a picture of too many pixels is refused before any is decoded', async () => {
    await start({ limits })
    // Few bytes, many pixels; its data are broken, so that decoding would fail otherwise.
    const bomb = await sharp({ create: { width: 5000, height: 5000, channels: 3, background: '#000' } })
      .png()
      .toBuffer()
    const picture = bomb.subarray(0, 200).toString('base64')
    const mask = { left: 0, top: 0, width: 8, height: 8 }
    const response = await server.post('edit', { labels: [1], picture, mask })
    const { error } = await answerOf(response)
    expect([response.status, error.code, error.found]).toEqual([413, 'PICTURE_TOO_LARGE', '5000×5000'])
  })

  it.each([
    ['text', Buffer.from('hello')],
    ['a drawing', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')],
  ])('with %s instead of a picture gets 415', async (_, file) => {
    await start({ limits })
    const picture = file.toString('base64')
    const mask = { left: 0, top: 0, width: 8, height: 8 }
    const edit = await server.post('edit', { labels: [1], picture, mask })
    expect([edit.status, (await answerOf(edit)).error.code]).toEqual([415, 'TYPE_UNSUPPORTED'])
    const headers = { 'content-type': 'image/png' }
    const recipe = await fetch(`${server.url}/api/recipe`, {
      method: 'POST',
      headers,
      body: new Uint8Array(file),
    })
    expect(recipe.status).toBe(file.toString() === 'hello' ? 415 : 400)
  })

  it('of another type gets 415, one that is no JSON 400', async () => {
    await start({ limits })
    const send = (type: string, body: string) =>
      fetch(`${server.url}/api/models/shapes/generate`, {
        method: 'POST',
        headers: { 'content-type': type },
        body,
      })
    const text = await send('text/plain', 'star')
    expect([text.status, (await answerOf(text)).error.code]).toEqual([415, 'TYPE_UNSUPPORTED'])
    const broken = await send('application/json', '{"labels":')
    expect([broken.status, (await answerOf(broken)).error.code]).toEqual([400, 'REQUEST_INVALID'])
  })
})

describe('a device that died (16)', () => {
  it('fails what waits, answers 503 from then on, and is said once', async () => {
    const onEngineLost = vi.fn()
    await start({ onEngineLost })
    const dead = new HmarError('DEVICE_UNAVAILABLE', 'The GPU stopped working.')
    vi.spyOn(server.sampler, 'stream').mockImplementation(async function* () {
      await new Promise((resolve) => setTimeout(resolve, 50))
      throw dead
    })
    const running = gather(await server.watch('generate', { labels: [1], seed: 1 }))
    const waiting = server.post('generate', { labels: [2], seed: 1 })
    expect(only(await running, 'error')[0]?.error.code).toBe('ENGINE_LOST')
    expect((await waiting).status).toBe(503)
    const after = await server.post('generate', { labels: [2] })
    expect([after.status, (await answerOf(after)).error.code]).toEqual([503, 'ENGINE_LOST'])
    for (const path of ['/healthz', '/readyz']) expect((await fetch(server.url + path)).status).toBe(503)
    expect(onEngineLost).toHaveBeenCalledExactlyOnceWith(dead)
  })

  it('is not what another failure is', async () => {
    await start()
    vi.spyOn(server.sampler, 'stream').mockImplementationOnce(() => {
      throw new HmarError('OUT_OF_MEMORY', 'The GPU has not enough memory left.')
    })
    expect((await server.post('generate', { labels: [1] })).status).toBe(500)
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200)
    await works()
  })
})

describe('draining (25)', () => {
  it('takes nothing new, and ends what it has', async () => {
    await start()
    const taken = gather(await server.watch('generate', { labels: [1], count: 4, seed: 1 }))
    const drained = server.app.hmar.drain()
    expect((await fetch(`${server.url}/readyz`)).status).toBe(503)
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200)
    const refused = await server.post('generate', { labels: [1] })
    expect([refused.status, (await answerOf(refused)).error.code]).toEqual([503, 'DRAINING'])
    await drained
    expect((await taken).at(-1)?.kind).toBe('done')
  })

  it('gives up what takes longer than it waits', async () => {
    await start({ limits: { drainMs: 20 } })
    const taken = gather(await server.watch('generate', long))
    await server.app.hmar.drain()
    expect(only(await taken, 'error')[0]?.error.code).toBe('DRAINING')
  })
})
