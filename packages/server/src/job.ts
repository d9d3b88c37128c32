import type { HmarSampler, Keep, SampleOptions } from '@hmar/sampler'

import { EventChannel } from './event-channel.js'
import { answerTo, ServerError } from './server-error.js'

/** What a request wants to be made. */
export interface Work extends Omit<SampleOptions, 'signal' | 'schedule' | 'keep'> {
  /** What is kept of another picture: worked out when it is the request's turn, since encoding takes time. */
  readonly keep?: ((signal: AbortSignal) => Promise<Keep>) | undefined
  readonly schedule: NonNullable<SampleOptions['schedule']>
  /** Whether the client wants to watch. */
  readonly previews: boolean
}

/** A request for images, from its coming to its end. */
export class Job {
  readonly events = new EventChannel()
  readonly came = performance.now()
  /** Floating-point operations: what its duration is estimated by. */
  readonly flops: number
  readonly #stop = new AbortController()
  readonly #timer: NodeJS.Timeout
  /** Resolves when it is over. */
  readonly ended: Promise<void>
  /** Why it failed, if it did. */
  failure: unknown
  #over = false
  #settle!: () => void

  constructor(
    readonly work: Work,
    readonly client: string,
    { model }: HmarSampler,
    timeoutMs: number,
  ) {
    this.ended = new Promise((resolve) => {
      this.#settle = resolve
    })
    this.flops = work.schedule.cost(model.config, { images: work.labels.length }).flops
    this.#timer = setTimeout(() => {
      this.fail(
        new ServerError('TIMED_OUT', 'The request took too long.', { expected: `at most ${timeoutMs} ms` }),
      )
    }, timeoutMs)
  }

  get images(): number {
    return this.work.labels.length
  }

  /** Aborted when nobody waits for its images any more. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** Whether it is done, has failed, or was given up. */
  get over(): boolean {
    return this.#over
  }

  /** All its images have been made. */
  finish(): void {
    this.#end(() => {
      const milliseconds = performance.now() - this.came
      this.events.push({ kind: 'done', images: this.images, milliseconds })
    })
  }

  /** Something went wrong, which its client is told. */
  fail(error: unknown): void {
    this.#end(() => {
      this.failure = error
      this.events.push({ kind: 'error', ...answerTo(error).body })
      this.#stop.abort(error)
    })
  }

  #end(tell: () => void): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    tell()
    this.events.close()
    this.#settle()
  }
}
