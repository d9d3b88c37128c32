import { randomInt } from 'node:crypto'
import type { HmarSampler } from '@hmar/sampler'

import { type Batch, runBatch } from './batch.js'
import type { Job } from './job.js'
import type { Metrics } from './metrics.js'
import type { Limits } from './options.js'
import { Pace } from './pace.js'
import { ServerError } from './server-error.js'

/** What a queue is told of the world. */
export interface QueueHost {
  readonly limits: Limits
  readonly metrics: Metrics
  /** A batch failed though somebody waited for it. */
  readonly onFailure: (error: unknown) => void
}

const imageNumbers = 2 ** 32
/** Until a batch has been measured. */
const unmeasuredMs = 1000

/** The requests of one model: they wait in the order of their coming, and those that can be made together are. */
export class ModelQueue {
  readonly #pace = new Pace()
  #waiting: Job[] = []
  #running: { readonly jobs: readonly Job[]; readonly since: number } | undefined
  /** What requests without a seed get: one seed, and a number for each image, so that they can share a batch. */
  #seed = newSeed()
  #nextImage = 0

  constructor(
    readonly name: string,
    readonly sampler: HmarSampler,
    private readonly host: QueueHost,
  ) {}

  /** All that are not over. */
  get jobs(): readonly Job[] {
    return [...this.#waiting, ...(this.#running?.jobs ?? [])].filter(({ over }) => !over)
  }

  /**
   * Queues a job.
   *
   * @throws {ServerError} `QUEUE_FULL`
   */
  add(job: Job): void {
    const { queue } = this.host.limits
    if (this.#waiting.length >= queue)
      throw new ServerError('QUEUE_FULL', 'Too many requests wait.', {
        found: `${this.#waiting.length}`,
        expected: `fewer than ${queue}`,
        remedy: 'Ask again later, as Retry-After says.',
        retryAfterMs: this.#leftMs() ?? unmeasuredMs,
      })
    this.#waiting.push(job)
    job.signal.addEventListener('abort', () => this.#drop(job), { once: true })
    this.#announce()
    void this.#work()
  }

  #drop(job: Job): void {
    const index = this.#waiting.indexOf(job)
    if (index < 0) return
    this.#waiting.splice(index, 1)
    this.#announce()
  }

  async #work(): Promise<void> {
    while (this.#running === undefined && this.#waiting.length > 0) {
      const jobs = this.#take()
      const since = performance.now()
      this.#running = { jobs, since }
      this.#observe(jobs, since)
      this.#announce()
      try {
        await runBatch(this.sampler, this.#batchOf(jobs))
        this.#pace.learn(flopsOf(jobs), performance.now() - since)
      } catch (error) {
        this.host.onFailure(error)
        for (const job of jobs) job.fail(error)
      } finally {
        this.#running = undefined
        this.host.metrics.running.set({ model: this.name }, 0)
      }
    }
  }

  /** The first that waits, with as many of those behind it as can be made together with it. */
  #take(): readonly Job[] {
    const [first] = this.#waiting
    const key = keyOf(first!)
    const taken: Job[] = []
    let images = 0
    for (const job of this.#waiting) {
      if (job !== first && (key === undefined || keyOf(job) !== key)) continue
      if (job !== first && images + job.images > this.host.limits.batch) break
      taken.push(job)
      images += job.images
    }
    this.#waiting = this.#waiting.filter((job) => !taken.includes(job))
    return taken
  }

  #batchOf(jobs: readonly Job[]): Batch {
    const size = this.host.limits.batch
    const [{ work }] = jobs as [Job]
    if (work.seed !== undefined) return { jobs, size, seed: work.seed, firstImage: work.firstImage ?? 0 }
    const images = jobs.reduce((sum, job) => sum + job.images, 0)
    if (this.#nextImage + images > imageNumbers) {
      this.#seed = newSeed()
      this.#nextImage = 0
    }
    const firstImage = this.#nextImage
    this.#nextImage += images
    return { jobs, size, seed: this.#seed, firstImage }
  }

  #observe(jobs: readonly Job[], since: number): void {
    const { batch, wait, running } = this.host.metrics
    const model = this.name
    const images = jobs.reduce((sum, job) => sum + job.images, 0)
    batch.observe({ model }, images)
    running.set({ model }, images)
    for (const { came } of jobs) wait.observe({ model }, (since - came) / 1000)
  }

  /** Tells everybody who waits how long. */
  #announce(): void {
    this.host.metrics.waiting.set({ model: this.name }, this.#waiting.length)
    let before = 0
    for (const [position, job] of this.#waiting.entries()) {
      const left = this.#leftMs()
      const others = this.#pace.millisecondsFor(before)
      const waitMs = left === undefined || others === undefined ? undefined : left + others
      job.events.push({ kind: 'queued', position, waitMs })
      before += job.flops
    }
  }

  /** What is left of the batch under way, as far as can be said. */
  #leftMs(): number | undefined {
    if (this.#running === undefined) return 0
    const { jobs, since } = this.#running
    const total = this.#pace.millisecondsFor(flopsOf(jobs))
    return total && Math.max(0, total - (performance.now() - since))
  }
}

const flopsOf = (jobs: readonly Job[]) => jobs.reduce((sum, { flops }) => sum + flops, 0)
const newSeed = () => randomInt(2 ** 48 - 1)

/**
 * Equal for jobs whose images one call can make; undefined for a job that is alone. A call has one seed and one picture that is
 * kept, so that a job with its own shares it with nobody.
 */
function keyOf({ work }: Job): string | undefined {
  const { seed, keep, schedule, skipNegligibleGuidance } = work
  if (seed !== undefined || keep !== undefined) return undefined
  return `${schedule.compile().hash} ${skipNegligibleGuidance}`
}
