// Fuzzes every reader for a while, from the seeds that a program makes: npm run fuzz -- [seconds a target] [target…]
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { root, run } from './run.mjs'

/** The longest input of each target. */
const targets = { pickle: 1024, pth: 3072, safetensors: 1024, config: 768, plan: 512, session: 3072 }

const [seconds = '60', ...asked] = process.argv.slice(2)
const folder = join('kernels-rs', 'fuzz')
const cargo = (...words) => run('cargo', words)
// The readers are safe Rust: what AddressSanitizer would see is seen by overflow checks and a budget on memory.
const fuzz = (command, ...words) =>
  cargo('fuzz', command, '--fuzz-dir', folder, '--sanitizer', 'none', ...words)

const seeds = [
  'run',
  '--quiet',
  '--release',
  '--manifest-path',
  join(folder, 'Cargo.toml'),
  '--example',
  'seeds',
]
if (!(await cargo(...seeds)).ok || !(await fuzz('build')).ok) process.exit(1)

for (const [target, longest] of Object.entries(targets)) {
  if (asked.length > 0 && !asked.includes(target)) continue
  const corpus = join(folder, 'corpus', target)
  mkdirSync(join(root, corpus), { recursive: true })
  const limits = [`-max_total_time=${seconds}`, `-max_len=${longest}`, '-timeout=10', '-rss_limit_mb=1024']
  const words = [target, corpus, join(folder, 'seeds', target), '--', ...limits, '-print_final_stats=1']
  if (!(await fuzz('run', ...words)).ok) process.exitCode = 1
}
