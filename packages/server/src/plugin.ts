import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import plugin from 'fastify-plugin'

import { addBodyTimeout } from './body-timeout.js'
import { checkServerOptions, type HmarServerOptions } from './options.js'
import { addHealthRoutes } from './routes/health.js'
import { addImageRoutes } from './routes/images.js'
import { addModelRoutes } from './routes/models.js'
import { answerTo, ServerError } from './server-error.js'
import { type HmarService, Service } from './service.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** What serves the models of `hmarServer`. */
    readonly hmar: HmarService
  }
}

/**
 * Serves models: a Fastify plugin.
 *
 * @example
 * ```ts
 * await using sampler = await HmarSampler.load({ model: 'shapes' })
 * const app = Fastify()
 * await app.register(hmarServer, { models: { shapes: sampler } })
 * await app.listen({ port: 8080 })
 * closeOnSignals(app)
 * ```
 *
 * @throws {HmarRangeError} if an option is of the wrong kind or out of its range
 */
export const hmarServer = plugin(
  async (app: FastifyInstance, options: HmarServerOptions) => {
    const { prefix, ...checked } = checkServerOptions(options)
    const service = new Service(checked)
    app.decorate('hmar', service)
    app.addHook('preClose', async () => {
      await service.drain()
      // Those that are left ask for nothing: browsers open some in advance, and Node would wait for them.
      app.server.closeAllConnections()
    })
    await app.register(async (operators) => addHealthRoutes(operators, service))
    await app.register(
      async (api) => {
        api.addHook('onRoute', (route) => {
          route.bodyLimit ??= service.limits.bodyBytes
        })
        api.setErrorHandler((error, request, reply) => tellError(error, request, reply, service))
        api.setNotFoundHandler((request, reply) => {
          const error = new ServerError('NOT_FOUND', 'There is nothing at this address.', {
            found: request.url,
          })
          tellError(error, request, reply, service)
        })
        // Fastify would read it; nothing here is text.
        api.removeContentTypeParser('text/plain')
        api.addHook('onRequest', async (_, reply) => service.track(reply.raw))
        addBodyTimeout(api, service.limits.bodyMs)
        addModelRoutes(api, service)
        addImageRoutes(api, service)
      },
      { prefix },
    )
  },
  { name: '@hmar/server', fastify: '5.x' },
)

function tellError(error: unknown, request: FastifyRequest, reply: FastifyReply, { metrics }: Service): void {
  const { status, body, retryAfter } = answerTo(error)
  if (status === 500) request.log.error(error)
  metrics.refused.inc({ code: body.error.code })
  if (retryAfter !== undefined) reply.header('retry-after', String(retryAfter))
  reply.code(status).send(body)
}
