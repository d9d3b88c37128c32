import { expect, it } from 'vitest'

import { EventChannel } from './event-channel.js'
import type { ImageEvent, PassEvent } from './events.js'
import { gather } from './testing/server.js'

const pass = (index: number): PassEvent => ({
  kind: 'pass',
  index,
  passes: 100,
  scale: 1,
  passKind: 'masked',
  fraction: index / 100,
})
const image = { kind: 'image', image: 0 } as ImageEvent

it('gives a slow reader the newest passing events, and every image', async () => {
  const channel = new EventChannel(3)
  channel.push(image)
  for (let index = 0; index < 100; index++) channel.push(pass(index))
  channel.push(image)
  channel.close()
  expect(await gather(channel)).toEqual([image, pass(97), pass(98), pass(99), image])
})

it('gives events as they come, and ends when it is closed', async () => {
  const channel = new EventChannel()
  const read = gather(channel)
  for (const index of [0, 1]) {
    await new Promise((resolve) => setTimeout(resolve, 1))
    channel.push(pass(index))
  }
  channel.close()
  channel.push(pass(2))
  expect(await read).toEqual([pass(0), pass(1)])
})
