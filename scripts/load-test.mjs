import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { prepare } from './prepare.mjs'
import { root } from './run.mjs'

if (!(await prepare(['@hmar/demo']))) process.exit(1)

const test = join(root, 'apps', 'demo', 'dist', 'load-test.js')
const { status } = spawnSync(process.execPath, [test, ...process.argv.slice(2)], { stdio: 'inherit' })
process.exitCode = status ?? 1
