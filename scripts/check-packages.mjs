// Packs every package as it would be published, and holds it to what its users need: see checks/.
import { prepare } from './prepare.mjs'
import { run } from './run.mjs'

const { ok } = (await prepare()) && (await run('vitest', ['run', '--config', 'checks/vitest.config.mjs']))
if (!ok) process.exitCode = 1
