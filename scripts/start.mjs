import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { prepare } from './prepare.mjs'
import { root } from './run.mjs'

if (!(await prepare(['@hmar/start']))) process.exit(1)

// With the terminal as its own: it draws previews.
const program = join(root, 'apps', 'start', 'dist', 'main.js')
const { status } = spawnSync(process.execPath, [program, ...process.argv.slice(2)], { stdio: 'inherit' })
process.exitCode = status ?? 1
