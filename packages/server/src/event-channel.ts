import type { ServerEvent } from './events.js'

/** Events that a slow reader can do without, since later ones say more. */
const isPassing = ({ kind }: ServerEvent) => kind === 'queued' || kind === 'pass' || kind === 'preview'

/**
 * Events from the one that makes them to the one that reads them, who may be slow: then passing ones are left out, the oldest
 * first, so that no more than `capacity` of them wait. Images, errors and ends are never left out.
 */
export class EventChannel implements AsyncIterable<ServerEvent> {
  #waiting: ServerEvent[] = []
  #closed = false
  #wake: (() => void) | undefined

  constructor(private readonly capacity = 32) {}

  push(event: ServerEvent): void {
    if (this.#closed) return
    this.#waiting.push(event)
    const passing = this.#waiting.filter(isPassing)
    if (passing.length > this.capacity) this.#waiting.splice(this.#waiting.indexOf(passing[0]!), 1)
    this.#wake?.()
  }

  /** What waits is still read. */
  close(): void {
    this.#closed = true
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ServerEvent, void, void> {
    for (;;) {
      const event = this.#waiting.shift()
      if (event) yield event
      else if (this.#closed) return
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
    }
  }
}
