import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, run } from './run.mjs'
import { describeMissing, missingTools } from './tools.mjs'

/**
 * Brings a clone to where its programs run: checks the tools, installs, builds. What is up to date is not done again.
 *
 * @param {string[]} packages - What to build, with what it depends on. Defaults to everything.
 * @returns {Promise<boolean>} Whether it could; what went wrong has been said.
 */
export async function prepare(packages = []) {
  if (!(checkTools() && (await install()))) return false
  const filters = packages.map((name) => `--filter=${name}`)
  const { ok } = await run('turbo', ['run', 'build', '--output-logs=new-only', ...filters])
  return ok
}

/** Installs what the lockfile names, with the pinned pnpm, unless it was already; whether that went well. */
export async function install() {
  const lockfile = createHash('sha256')
    .update(readFileSync(join(root, 'pnpm-lock.yaml')))
    .digest('hex')
  const stamp = join(root, 'node_modules', '.installed-lockfile')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lockfile) return true

  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  // pnpm would ask before it replaces a folder that another installer made.
  const options = ['--frozen-lockfile', '--config.confirm-modules-purge=false']
  const { ok } = await run('npx', ['--yes', packageManager, 'install', ...options])
  if (ok) writeFileSync(stamp, lockfile)
  return ok
}

function checkTools() {
  const missing = missingTools()
  if (missing.length > 0) process.stderr.write(`${describeMissing(missing)}\n`)
  return missing.length === 0
}
