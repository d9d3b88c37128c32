import type { FastifyInstance } from 'fastify'

import { answerTo, ServerError } from './server-error.js'

const timer = Symbol('hmar.bodyTimer')

declare module 'fastify' {
  interface FastifyRequest {
    [timer]?: NodeJS.Timeout
  }
}

/** Ends requests whose bodies do not come: the connection is closed behind the answer. */
export function addBodyTimeout(app: FastifyInstance, bodyMs: number): void {
  app.addHook('onRequest', async (request, reply) => {
    request[timer] = setTimeout(() => {
      const { status, body } = answerTo(
        new ServerError('BODY_TIMED_OUT', 'The request took too long to come.', {
          expected: `at most ${bodyMs} ms`,
        }),
      )
      reply.hijack()
      reply.raw.writeHead(status, { 'content-type': 'application/json', connection: 'close' })
      reply.raw.end(JSON.stringify(body), () => request.raw.destroy())
    }, bodyMs)
  })
  const done = async (request: { [timer]?: NodeJS.Timeout }) => clearTimeout(request[timer])
  app.addHook('preValidation', done)
  app.addHook('onError', done)
  app.addHook('onRequestAbort', done)
  app.addHook('onResponse', done)
}
