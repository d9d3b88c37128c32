import { HmarError, parseRecipe, type Recipe } from '@hmar/core'
import { readRecipe } from '@hmar/tokenizer'
import type { FastifyInstance } from 'fastify'

import { answer, formOf } from '../answer.js'
import type { Work } from '../job.js'
import type { ModelQueue } from '../model-queue.js'
import {
  BranchRequest,
  branchWork,
  EditRequest,
  editWork,
  GenerateRequest,
  generateWork,
  parse,
  reproductionWork,
} from '../requests.js'
import { ServerError } from '../server-error.js'
import type { Service } from '../service.js'

interface OfModel {
  readonly Params: { readonly model: string }
}

type WorkOf = (body: unknown, queue: ModelQueue) => Work | Promise<Work>

/** What makes images. */
export function addImageRoutes(app: FastifyInstance, service: Service): void {
  const { limits } = service
  app.addContentTypeParser(/^image\//, { parseAs: 'buffer' }, (_, body, done) => done(null, body))

  const makes = (path: string, workOf: WorkOf) => {
    app.post<OfModel>(`/models/:model/${path}`, async (request, reply) => {
      service.assertReady()
      const queue = service.queue(request.params.model)
      const work = await workOf(request.body, queue)
      const form = formOf(request)
      if (form === 'png' && work.labels.length !== 1)
        throw new ServerError('REQUEST_INVALID', 'A picture file holds one image.', {
          found: `${work.labels.length} images`,
          remedy: 'Ask for application/json or text/event-stream.',
        })
      return answer(reply, service.submit(queue, work, request.ip), form, limits.stallMs)
    })
  }
  makes('generate', (body, { sampler }) => generateWork(parse(GenerateRequest, body), sampler, limits))
  makes('branch', (body, { sampler }) => branchWork(parse(BranchRequest, body), sampler, limits))
  makes('edit', (body, { sampler }) => editWork(parse(EditRequest, body), sampler, limits))

  makes('reproduce', async (body, { sampler }) => reproductionWork(await recipeOf(body), sampler, limits))

  app.post('/recipe', async ({ body }) => recipeOf(body))
}

/**
 * What was sent as JSON, or inside a PNG.
 *
 * @throws {ServerError} `TYPE_UNSUPPORTED` for bytes that are no picture
 * @throws {HmarError} `RECIPE_INVALID`
 */
async function recipeOf(body: unknown): Promise<Recipe> {
  if (!Buffer.isBuffer(body)) return parseRecipe(body)
  try {
    return await readRecipe(body)
  } catch (cause) {
    if (!HmarError.isInstance(cause) || cause.code !== 'IMAGE_INVALID') throw cause
    throw new ServerError('TYPE_UNSUPPORTED', 'This is no picture.', { found: cause.found, cause })
  }
}
