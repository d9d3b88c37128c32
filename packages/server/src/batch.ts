import type { HmarSampler, StreamEvent } from '@hmar/sampler'

import type { Job } from './job.js'

/** Jobs whose images are made together. */
export interface Batch {
  readonly jobs: readonly Job[]
  /** Of all of them; those of the only job where it names its own. */
  readonly seed: number | bigint
  readonly firstImage: number
  /** Images made at once. */
  readonly size: number
}

/** A job's images within the batch. */
interface Share {
  readonly job: Job
  readonly first: number
}

/**
 * Makes the images of a batch, and tells each job what happens to its own. Jobs that are given up are passed over; when none is
 * left, it ends within one pass.
 *
 * @throws what the sampler throws, unless nobody waits any more
 */
export async function runBatch(sampler: HmarSampler, { jobs, seed, firstImage, size }: Batch): Promise<void> {
  const abandoned = new AbortController()
  const giveUp = () => {
    if (jobs.every(({ over }) => over)) abandoned.abort()
  }
  for (const { signal } of jobs) signal.addEventListener('abort', giveUp, { once: true })
  const images = jobs.reduce((sum, job) => sum + job.images, 0)
  for (const { events } of jobs) events.push({ kind: 'started', batch: Math.min(images, size) })
  const { schedule, skipNegligibleGuidance, keep } = jobs[0]!.work
  const { signal } = abandoned
  const shares = sharesOf(jobs)
  try {
    const events = sampler.stream({
      labels: jobs.flatMap(({ work }) => work.labels),
      schedule,
      skipNegligibleGuidance,
      keep: await keep?.(signal),
      seed,
      firstImage,
      batchSize: Math.min(size, images),
      previews: jobs.some(({ work }) => work.previews),
      signal,
    })
    for await (const event of events) await tell(event, shares, sampler)
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

function sharesOf(jobs: readonly Job[]): Share[] {
  let first = 0
  return jobs.map((job) => {
    const share = { job, first }
    first += job.images
    return share
  })
}

async function tell(event: StreamEvent, shares: readonly Share[], sampler: HmarSampler): Promise<void> {
  const awake = shares.filter(({ job }) => !job.over)
  switch (event.kind) {
    case 'pass': {
      const { pass, index, passes, firstImage, images } = event
      const passKind = pass.kind
      const done = (index + 1) / (passes + 1)
      for (const { job, first } of awake) {
        const [from, to] = overlap(first, job.images, firstImage, images.length)
        if (from >= to) continue
        const fraction = (from - first + (to - from) * done) / job.images
        job.events.push({ kind: 'pass', index, passes, scale: pass.scale, passKind, fraction })
      }
      return
    }
    case 'preview': {
      const { scale, firstImage, images } = event
      for (const { job, first } of awake) {
        if (!job.work.previews) continue
        const [from, to] = overlap(first, job.images, firstImage, images.length)
        for (let at = from; at < to; at++) {
          const jpeg = (await images[at - firstImage]!.toBuffer('jpeg')).toString('base64')
          job.events.push({ kind: 'preview', image: at - first, scale, jpeg })
        }
      }
      return
    }
    case 'image': {
      const { index, image, tokens } = event
      for (const { job, first } of awake) {
        if (index < first || index >= first + job.images) continue
        const recipe = await sampler.recipe(image)
        const png = (await image.toBuffer('png', { recipe })).toString('base64')
        const flat = tokens.scales.flatMap((scale) => [...scale])
        job.events.push({ kind: 'image', image: index - first, png, recipe, tokens: flat })
        if (index === first + job.images - 1) job.finish()
      }
    }
  }
}

/** The images of a job, `[first, first + count)`, among those of a part of the batch. */
const overlap = (first: number, count: number, partFirst: number, partCount: number) =>
  [Math.max(first, partFirst), Math.min(first + count, partFirst + partCount)] as const
