import { spawnSync } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { root } from '../scripts/run.mjs'

/**
 * Runs a tool, by default one of the repository's, and returns what it printed.
 *
 * @throws with all of its output, if it exits with anything but 0
 */
export function runTool(command, args, folder = root) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: folder,
    encoding: 'utf8',
    env: environment(),
    shell: process.platform === 'win32',
  })
  if (status !== 0)
    throw new Error(`${[command, ...args].join(' ')} failed.\n${stdout}${stderr}`, { cause: error })
  return stdout
}

/** Without what npm and vitest tell their children, which would change what these do. */
function environment() {
  const foreign = /^(npm_|VITEST|NODE_(ENV|OPTIONS|PATH)$)/
  const kept = Object.entries(process.env).filter(([name]) => !foreign.test(name))
  return {
    ...Object.fromEntries(kept),
    PATH: [join(root, 'node_modules', '.bin'), process.env.PATH].join(delimiter),
  }
}
