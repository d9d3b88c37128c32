import { once } from 'node:events'
import type { ServerResponse } from 'node:http'

import type { ServerEvent } from './events.js'

/** How to write to a client. */
export interface SendOptions {
  /** How long it may take nothing of what was written. */
  readonly stallMs: number
  /** How often something is written, so that those in between keep the connection. Defaults to 15 seconds. */
  readonly heartbeatMs?: number
}

/**
 * Writes events as server-sent events, no faster than the client reads.
 *
 * @returns whether the client got all of them; if not, the connection is closed
 */
export async function sendEvents(
  response: ServerResponse,
  events: AsyncIterable<ServerEvent>,
  { stallMs, heartbeatMs = 15_000 }: SendOptions,
): Promise<boolean> {
  const heartbeat = setInterval(() => response.write(':\n\n'), heartbeatMs)
  try {
    for await (const { kind, ...event } of events) {
      if (response.destroyed) return false
      const more = response.write(`event: ${kind}\ndata: ${JSON.stringify(event)}\n\n`)
      if (!more && !(await drained(response, stallMs))) {
        response.destroy()
        return false
      }
    }
    response.end()
    return true
  } finally {
    clearInterval(heartbeat)
  }
}

/** Whether what was written was taken in time. */
async function drained(response: ServerResponse, stallMs: number): Promise<boolean> {
  const settled = new AbortController()
  const { signal } = settled
  const stalled = setTimeout(() => settled.abort(), stallMs)
  try {
    await Promise.race([once(response, 'drain', { signal }), once(response, 'close', { signal })])
    return !response.destroyed
  } catch {
    return false
  } finally {
    clearTimeout(stalled)
    // Whatever did not happen is not listened for any more.
    settled.abort()
  }
}
