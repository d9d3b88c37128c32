import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { setTimeout } from 'node:timers/promises'
import type { HmarSampler } from '@hmar/sampler'

import { Job, type Work } from './job.js'
import { Metrics } from './metrics.js'
import { ModelQueue } from './model-queue.js'
import type { Limits } from './options.js'
import { isEngineLost, ServerError } from './server-error.js'

/** `ready` takes requests; `draining` ends those it has; `lost` can compute nothing any more. */
export type ServiceState = 'ready' | 'draining' | 'lost'

/** What an app can ask of its server: `app.hmar`. */
export interface HmarService {
  /** Whether it takes requests. */
  readonly state: ServiceState
  /** Takes nothing new, and waits until what was taken is done and answered, but no longer than `limits.drainMs`. */
  drain(): Promise<void>
}

interface ServiceOptions {
  readonly models: Readonly<Record<string, HmarSampler>>
  readonly limits: Limits
  readonly onEngineLost?: ((error: unknown) => void) | undefined
}

/** What serves: the models' queues, who has how many requests, and whether more are taken. */
export class Service implements HmarService {
  readonly metrics = new Metrics()
  readonly limits: Limits
  readonly queues: ReadonlyMap<string, ModelQueue>
  readonly #jobsOf = new Map<string, number>()
  readonly #onEngineLost: ServiceOptions['onEngineLost']
  readonly #answers = new Set<ServerResponse>()
  #state: ServiceState = 'ready'

  constructor({ models, limits, onEngineLost }: ServiceOptions) {
    this.limits = limits
    this.#onEngineLost = onEngineLost
    const host = { limits, metrics: this.metrics, onFailure: (error: unknown) => this.#failed(error) }
    this.queues = new Map(
      Object.entries(models).map(([name, sampler]) => [name, new ModelQueue(name, sampler, host)]),
    )
  }

  get state(): ServiceState {
    return this.#state
  }

  /**
   * A model's queue.
   *
   * @throws {ServerError} `NOT_FOUND`
   */
  queue(name: string): ModelQueue {
    const queue = this.queues.get(name)
    if (queue) return queue
    throw new ServerError('NOT_FOUND', 'There is no such model.', {
      found: name,
      expected: [...this.queues.keys()].join(', '),
    })
  }

  /**
   * Takes a request.
   *
   * @param client - What tells clients apart.
   * @throws {ServerError} `DRAINING`, `ENGINE_LOST`, `CLIENT_LIMIT`, `QUEUE_FULL`
   */
  submit(queue: ModelQueue, work: Work, client: string): Job {
    this.assertReady()
    this.#checkClient(client)
    const job = new Job(work, client, queue.sampler, this.limits.requestMs)
    try {
      queue.add(job)
    } catch (error) {
      job.fail(error)
      throw error
    }
    this.#jobsOf.set(client, (this.#jobsOf.get(client) ?? 0) + 1)
    void job.ended.then(() => this.#ended(job, queue.name))
    return job
  }

  /**
   * Refuses work where none can be done.
   *
   * @throws {ServerError} `DRAINING`, `ENGINE_LOST`
   */
  assertReady(): void {
    if (this.#state === 'lost') throw engineLost()
    if (this.#state === 'draining')
      throw new ServerError('DRAINING', 'The server is about to end.', {
        remedy: 'Ask again: another one takes over.',
        retryAfterMs: 1000,
      })
  }

  /** Remembers that something is being answered. */
  track(response: ServerResponse): void {
    this.#answers.add(response)
    response.once('close', () => this.#answers.delete(response))
  }

  async drain(): Promise<void> {
    if (this.#state === 'ready') this.#state = 'draining'
    const jobs = [...this.queues.values()].flatMap((queue) => queue.jobs)
    await within(this.limits.drainMs, Promise.all(jobs.map(({ ended }) => ended)))
    for (const job of jobs) job.fail(new ServerError('DRAINING', 'The server ended before the request did.'))
    const answered = [...this.#answers].map((response) => once(response, 'close'))
    await within(Math.min(this.limits.drainMs, 1000), Promise.allSettled(answered))
  }

  #checkClient(client: string): void {
    const { perClient } = this.limits
    const jobs = this.#jobsOf.get(client) ?? 0
    if (jobs < perClient) return
    throw new ServerError('CLIENT_LIMIT', 'Too many requests of this client wait or run.', {
      found: String(jobs),
      expected: `at most ${perClient} at once`,
      remedy: 'Ask again when one of them is done.',
      retryAfterMs: 1000,
    })
  }

  #ended(job: Job, model: string): void {
    const left = this.#jobsOf.get(job.client)! - 1
    if (left > 0) this.#jobsOf.set(job.client, left)
    else this.#jobsOf.delete(job.client)
    const code = (job.failure as { code?: string } | undefined)?.code
    this.metrics.requests.inc({ model, outcome: job.failure === undefined ? 'done' : (code ?? 'INTERNAL') })
    if (job.failure !== undefined) return
    this.metrics.images.inc({ model }, job.images)
    this.metrics.total.observe({ model }, (performance.now() - job.came) / 1000)
  }

  /** A device that died takes everything with it that waits. */
  #failed(error: unknown): void {
    if (!isEngineLost(error) || this.#state === 'lost') return
    this.#state = 'lost'
    for (const queue of this.queues.values()) for (const job of queue.jobs) job.fail(engineLost(error))
    this.#onEngineLost?.(error)
  }
}

/** Waits for something, but not forever. */
async function within(milliseconds: number, something: Promise<unknown>): Promise<void> {
  const stop = new AbortController()
  await Promise.race([something, setTimeout(milliseconds, undefined, { signal: stop.signal })]).finally(
    () => {
      stop.abort()
    },
  )
}

const engineLost = (cause?: unknown) =>
  new ServerError('ENGINE_LOST', 'The device stopped working.', {
    remedy: 'Ask again: the server is started anew.',
    retryAfterMs: 10_000,
    cause,
  })
