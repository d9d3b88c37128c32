import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { prepare } from './prepare.mjs'
import { root } from './run.mjs'

if (!(await prepare(['@hmar/demo']))) process.exit(1)

const demo = join(root, 'apps', 'demo', 'dist', 'main.js')
const child = spawn(process.execPath, [demo, ...process.argv.slice(2)], { stdio: 'inherit' })
// The terminal asks both of us; the demo decides when.
for (const signal of ['SIGINT', 'SIGTERM'])
  process.on(signal, () => signal === 'SIGTERM' && child.kill(signal))
child.on('exit', (code) => {
  process.exitCode = code ?? 1
})
