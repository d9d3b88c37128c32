// Builds an app and runs one of its programs: node scripts/app.mjs <app> <program> [words]
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { prepare } from './prepare.mjs'
import { root } from './run.mjs'

const [app, program, ...words] = process.argv.slice(2)
if (!(await prepare([`@hmar/${app}`]))) process.exit(1)

const child = spawn(process.execPath, [join(root, 'apps', app, 'dist', `${program}.js`), ...words], {
  stdio: 'inherit',
})
// The terminal interrupts both of us; when to end is the program's to decide.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => child.kill('SIGTERM'))
child.on('exit', (code) => {
  process.exitCode = code ?? 1
})
