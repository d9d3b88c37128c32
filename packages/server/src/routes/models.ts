import type { ModelConfig, TokenizerConfig } from '@hmar/core'
import { type FoundLabel, type ModelArithmetic, searchLabels } from '@hmar/model'
import { Schedule, type ScheduleData } from '@hmar/scheduler'
import type { FastifyInstance } from 'fastify'

import type { ModelQueue } from '../model-queue.js'
import type { Limits } from '../options.js'
import { LabelsQuery, parse, ScheduleRequest, scheduleOf } from '../requests.js'
import type { Service } from '../service.js'

interface OfModel {
  readonly Params: { readonly model: string }
}

/** What there is: models, their labels, and what a schedule would do and cost. */
export function addModelRoutes(app: FastifyInstance, service: Service): void {
  app.get(
    '/models',
    async (): Promise<ModelsAnswer> => ({
      models: [...service.queues.values()].map(describe),
      limits: service.limits,
    }),
  )

  app.get<OfModel>('/models/:model', async ({ params }) => describe(service.queue(params.model)))

  app.get<OfModel>('/models/:model/labels', async ({ params, query }): Promise<LabelsAnswer> => {
    const { search, limit } = parse(LabelsQuery, query)
    return { labels: searchLabels(search, service.queue(params.model).sampler.model.config, limit) }
  })

  app.post<OfModel>('/models/:model/schedule', async ({ params, body }) => {
    const { sampler } = service.queue(params.model)
    const { images, ...request } = parse(ScheduleRequest, body)
    const { config } = sampler.model
    const schedule = scheduleOf(request, sampler, service.limits)
    const { perPass: _, ...cost } = schedule.cost(config, { images, tokenizer: sampler.tokenizer.config })
    return {
      schedule,
      plan: schedule.compile(config),
      hash: schedule.compile(config).hash,
      explanation: schedule.explain(config),
      differences: schedule.diff(Schedule.default(config)).differences,
      cost,
    }
  })
}

/** A model, as the server describes it. */
export interface ModelDescription {
  /** Its name in addresses. */
  readonly name: string
  /** Pixels along a side of its pictures. */
  readonly side: number
  readonly config: ModelConfig
  readonly tokenizer: TokenizerConfig
  readonly arithmetic: ModelArithmetic
  /** Its default schedule. */
  readonly schedule: ScheduleData
}

/** All models, and what is allowed. */
export interface ModelsAnswer {
  readonly models: readonly ModelDescription[]
  readonly limits: Limits
}

/** The classes that a search found. */
export interface LabelsAnswer {
  readonly labels: readonly FoundLabel[]
}

const describe = ({ name, sampler }: ModelQueue): ModelDescription => ({
  name,
  side: sampler.side,
  config: sampler.model.config,
  tokenizer: sampler.tokenizer.config,
  arithmetic: sampler.model.arithmetic,
  schedule: Schedule.default(sampler.model.config).toJSON(),
})
