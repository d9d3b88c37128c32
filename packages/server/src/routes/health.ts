import type { FastifyInstance } from 'fastify'

import type { Service } from '../service.js'

/** What operators ask. */
export function addHealthRoutes(app: FastifyInstance, service: Service): void {
  const { metrics, queues } = service

  app.get('/healthz', async (_, reply) => {
    const { state } = service
    return reply.code(state === 'lost' ? 503 : 200).send({ state })
  })

  app.get('/readyz', async (_, reply) => {
    const { state } = service
    return reply.code(state === 'ready' ? 200 : 503).send({ state })
  })

  app.get('/metrics', async (_, reply) => {
    for (const [model, { sampler }] of queues) {
      const { weightBytes, batchBytes } = sampler.model.memory()
      const tokenizer = sampler.tokenizer.memory()
      metrics.memory.set({ model, part: 'weights' }, weightBytes + tokenizer.weightBytes)
      metrics.memory.set({ model, part: 'buffers' }, batchBytes + tokenizer.workingBytes)
    }
    return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics())
  })
}
