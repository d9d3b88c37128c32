import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { must, root } from './run.mjs'
import { describeMissing, missingTools } from './tools.mjs'

/**
 * Brings a clone to where its programs run: checks the tools, installs, builds. What is up to date is not done again.
 *
 * @param {string[]} packages - What to build, with what it depends on. Defaults to everything.
 */
export async function prepare(packages = []) {
  checkTools()
  await install()
  await must('turbo', [
    'run',
    'build',
    '--output-logs=new-only',
    ...packages.map((name) => `--filter=${name}`),
  ])
}

function checkTools() {
  const missing = missingTools()
  if (missing.length === 0) return
  process.stderr.write(`${describeMissing(missing)}\n`)
  process.exit(1)
}

/** Installs what the lockfile names, with the pinned pnpm, unless it was already. */
export async function install() {
  const lockfile = createHash('sha256')
    .update(readFileSync(join(root, 'pnpm-lock.yaml')))
    .digest('hex')
  const stamp = join(root, 'node_modules', '.installed-lockfile')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lockfile) return
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  await must('npx', [
    '--yes',
    packageManager,
    'install',
    '--frozen-lockfile',
    // Without it pnpm asks before it replaces a folder that another installer made.
    '--config.confirm-modules-purge=false',
  ])
  writeFileSync(stamp, lockfile)
}
