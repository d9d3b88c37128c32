import { linters } from './linters.mjs'
import { install } from './prepare.mjs'
import { run } from './run.mjs'

if (!(await install())) process.exit(1)
for (const [command, args] of linters) {
  const { ok } = await run(command, args)
  if (!ok) process.exitCode = 1
}
