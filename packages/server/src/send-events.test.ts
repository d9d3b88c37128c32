import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it, vi } from 'vitest'

import type { ServerEvent } from './events.js'
import { sendEvents } from './send-events.js'

/** A client that takes each event only after the next turn, or none. */
function slowResponse({ drains }: { readonly drains: boolean }) {
  const response = Object.assign(new EventEmitter(), {
    destroyed: false,
    most: 0,
    write() {
      if (drains) setImmediate(() => response.emit('drain'))
      response.most = Math.max(
        response.most,
        response.listenerCount('close'),
        response.listenerCount('drain'),
      )
      return false
    },
    end: vi.fn(),
    destroy: vi.fn(),
  })
  return response
}

async function* events(count: number): AsyncGenerator<ServerEvent> {
  for (let images = 0; images < count; images++) yield { kind: 'done', images, milliseconds: 0 }
}

it('listens to a slow client once at a time', async () => {
  const response = slowResponse({ drains: true })
  expect(await sendEvents(response as unknown as ServerResponse, events(20), { stallMs: 60_000 })).toBe(true)
  expect(response.most).toBeLessThanOrEqual(1)
  expect(response.eventNames()).toEqual([])
  expect(response.end).toHaveBeenCalledOnce()
})

it('leaves a client that takes nothing', async () => {
  const response = slowResponse({ drains: false })
  expect(await sendEvents(response as unknown as ServerResponse, events(2), { stallMs: 5 })).toBe(false)
  expect(response.destroy).toHaveBeenCalledOnce()
})

it('leaves it in time though garbage is collected meanwhile', async () => {
  setFlagsFromString('--expose-gc')
  const collecting = setInterval(runInNewContext('gc'), 1)
  const response = slowResponse({ drains: false })
  expect(await sendEvents(response as unknown as ServerResponse, events(2), { stallMs: 100 })).toBe(false)
  clearInterval(collecting)
})
