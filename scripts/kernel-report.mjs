// What the compiler says of every GPU kernel on every architecture: registers, shared memory, stack, spills. Fails where one
// spills or where there is none, and adds the table to the summary of a workflow.
import { appendFileSync } from 'node:fs'
import { kernelTable } from './kernel-table.mjs'
import { run } from './run.mjs'

const { ok, output } = await run('cargo', [
  ...['test', '--manifest-path', 'kernels-rs/Cargo.toml', '-p', 'hmar-cuda', '--test', 'resources'],
  ...['--', '--nocapture'],
])
const { count, markdown } = kernelTable(output)
if (process.env.GITHUB_STEP_SUMMARY) appendFileSync(process.env.GITHUB_STEP_SUMMARY, markdown)
if (count === 0) process.stderr.write('No kernel was compiled: npm run cuda-toolkit fetches the compiler.\n')
if (!ok || count === 0) process.exitCode = 1
