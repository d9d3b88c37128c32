import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { prepare } from './prepare.mjs'
import { root } from './run.mjs'

await prepare(['@hmar/bench'])

// With the terminal as its own: the bench says how far it is.
const bench = join(root, 'apps', 'bench', 'dist', 'main.js')
const { status } = spawnSync(process.execPath, [bench, ...process.argv.slice(2)], { stdio: 'inherit' })
process.exitCode = status ?? 1
