import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { prepare } from './prepare.mjs'
import { root } from './run.mjs'

if (!(await prepare(['@hmar/schedules']))) process.exit(1)

const study = join(root, 'apps', 'schedules', 'dist', 'main.js')
const { status } = spawnSync(process.execPath, [study, ...process.argv.slice(2)], { stdio: 'inherit' })
process.exitCode = status ?? 1
