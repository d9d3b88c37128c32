import { linters } from './linters.mjs'
import { install } from './prepare.mjs'
import { run } from './run.mjs'

await install()
for (const [command, args] of linters) {
  const { ok } = await run(command, args)
  if (!ok) process.exitCode = 1
}
