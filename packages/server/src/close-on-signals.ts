import type { FastifyInstance } from 'fastify'

/**
 * Ends the process on SIGTERM and SIGINT when everything that was taken is done: `/readyz` says no, nothing new is taken, then
 * the app closes. A second signal ends it at once.
 *
 * @returns Ends it in the same way, with an exit code.
 */
export function closeOnSignals(app: FastifyInstance): (code: number) => Promise<void> {
  let closing: Promise<void> | undefined
  const close = (code: number) => {
    closing ??= (async () => {
      await app.hmar.drain()
      await app.close()
      process.exitCode = code
    })()
    return closing
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => {
      // The second one finds no listener.
      close(0).catch((error: unknown) => {
        app.log.error(error)
        process.exit(1)
      })
    })
  return close
}
