import type { FastifyReply, FastifyRequest } from 'fastify'

import type { DoneEvent, ImageEvent } from './events.js'
import type { Job } from './job.js'
import { sendEvents } from './send-events.js'
import { ServerError } from './server-error.js'

/** In what form a client wants its images. */
type Form = 'events' | 'json' | 'png'

const forms = [
  ['text/event-stream', 'events'],
  ['application/json', 'json'],
  ['image/png', 'png'],
] as const satisfies readonly (readonly [string, Form])[]

/** The first of our forms that the client accepts: events where it does not say. */
export function formOf({ headers }: FastifyRequest): Form {
  const accepted = (headers.accept ?? '').split(',').map((part) => part.split(';')[0]!.trim())
  return accepted.map((type) => forms.find(([name]) => name === type)?.[1]).find(Boolean) ?? 'events'
}

/** Has the job given up when its client leaves before the end. */
function giveUpWithClient({ raw }: FastifyReply, giveUp: (error: ServerError) => void): void {
  const leave = () => {
    if (!raw.writableFinished) giveUp(new ServerError('CLIENT_GONE', 'The client left.'))
  }
  // It may have left while its picture was read.
  if (raw.destroyed) leave()
  else raw.once('close', leave)
}

/** Answers a request with what becomes of its job. */
export async function answer(reply: FastifyReply, job: Job, form: Form, stallMs: number) {
  giveUpWithClient(reply, (error) => job.fail(error))
  if (form !== 'events') return form === 'png' ? answerWithPicture(reply, job) : answerWithJson(reply, job)
  reply.hijack()
  const { raw } = reply
  raw.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no', // proxies pass events on as they come
  })
  if (!(await sendEvents(raw, job.events, { stallMs })))
    job.fail(new ServerError('CLIENT_GONE', 'The client took nothing of what was written.'))
}

async function answerWithPicture(reply: FastifyReply, job: Job) {
  const [image] = (await outcomeOf(job)).images
  const { label, labelName, seed, image: number } = image!.recipe
  const name = `${labelName ?? label ?? 'picture'}-${seed}-${number}`.replaceAll(/[^\w.-]+/g, '-')
  return reply
    .type('image/png')
    .header('content-disposition', `attachment; filename="${name}.png"`)
    .send(Buffer.from(image!.png, 'base64'))
}

async function answerWithJson(reply: FastifyReply, job: Job) {
  const { images, done } = await outcomeOf(job)
  return reply.send({
    images: images.map(({ png, recipe, tokens }) => ({ png, recipe, tokens })),
    milliseconds: done.milliseconds,
  })
}

/**
 * What the job ends with.
 *
 * @throws why it failed
 */
async function outcomeOf(job: Job) {
  const images: ImageEvent[] = []
  let done: DoneEvent | undefined
  for await (const event of job.events) {
    if (event.kind === 'image') images.push(event)
    if (event.kind === 'done') done = event
  }
  if (!done) throw job.failure
  return { images, done }
}
