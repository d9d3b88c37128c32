import { Interrupted } from './exit-code.js'
import { run } from './run.js'

const controller = new AbortController()
// Once: a second signal ends the process at once, as it would have without us.
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => controller.abort(new Interrupted(name)))

// Who reads us may have enough, as `head` does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

process.exitCode = await run(process.argv.slice(2), process, controller.signal)
