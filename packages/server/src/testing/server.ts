import type { AddressInfo } from 'node:net'
import type { PassList } from '@hmar/core'
import type { FoundLabel } from '@hmar/model'
import { HmarSampler } from '@hmar/sampler'
import Fastify from 'fastify'

import type { ImageEvent, ServerEvent } from '../events.js'
import {
  type ErrorBody,
  type HmarServerOptions,
  hmarServer,
  type Limits,
  type ModelDescription,
} from '../index.js'

/** A server on loopback with the embedded model. */
export async function serve(options: Omit<HmarServerOptions, 'models'> = {}) {
  const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
  const app = Fastify()
  await app.register(hmarServer, { models: { shapes: sampler }, ...options })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  const post = (path: string, body: unknown, { accept = 'application/json', signal }: PostOptions = {}) =>
    fetch(`${url}/api/models/shapes/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept },
      body: JSON.stringify(body),
      signal: signal ?? null,
    })
  return {
    app,
    sampler,
    port,
    url,
    post,
    get: async (path: string) => answerOf(await fetch(`${url}${path}`)),
    watch: async (path: string, body: unknown, signal?: AbortSignal) =>
      readEvents(await post(path, body, { accept: 'text/event-stream', signal })),
    async close() {
      await app.close()
      await sampler.close()
    },
  }
}

/** What answers in JSON may have. */
interface Answer {
  readonly error: ErrorBody['error']
  readonly images: readonly [ImageEvent, ...ImageEvent[]]
  readonly models: readonly [ModelDescription]
  readonly limits: Limits
  readonly labels: readonly FoundLabel[]
  readonly hash: string
  readonly plan: PassList
  readonly explanation: string
  readonly differences: unknown
  readonly cost: { readonly flops: number }
}

/** An answer's JSON. */
export const answerOf = async (response: Response) => (await response.json()) as Answer

interface PostOptions {
  readonly accept?: string
  readonly signal?: AbortSignal | undefined
}

/** The events of an answer, as they come. */
async function* readEvents({ body }: Response): AsyncGenerator<ServerEvent, void, void> {
  let text = ''
  for await (const chunk of body!.pipeThrough(new TextDecoderStream())) {
    text += chunk
    const parts = text.split('\n\n')
    text = parts.pop()!
    for (const part of parts) {
      const [, kind, data] = /^event: (\w+)\ndata: (.*)$/.exec(part) ?? []
      if (kind !== undefined) yield { kind, ...JSON.parse(data!) } as ServerEvent
    }
  }
}

export async function gather(events: AsyncIterable<ServerEvent>): Promise<ServerEvent[]> {
  const all: ServerEvent[] = []
  for await (const event of events) all.push(event)
  return all
}

export const only = <Kind extends ServerEvent['kind']>(events: readonly ServerEvent[], kind: Kind) =>
  events.filter((event): event is Extract<ServerEvent, { kind: Kind }> => event.kind === kind)

/** Waits until something is so. */
export async function until(so: () => boolean): Promise<void> {
  while (!so()) await new Promise((resolve) => setTimeout(resolve, 2))
}
