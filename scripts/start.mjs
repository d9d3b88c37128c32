import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { prepare } from './prepare.mjs'
import { root } from './run.mjs'

if (!(await prepare(['@hmar/demo']))) process.exit(1)

// With the terminal as its own: the demo draws previews in it.
const demo = join(root, 'apps', 'demo', 'dist', 'main.js')
const { status } = spawnSync(process.execPath, [demo, ...process.argv.slice(2)], { stdio: 'inherit' })
process.exitCode = status ?? 1
