import { spawnSync } from 'node:child_process'
import { delimiter, isAbsolute, join } from 'node:path'
import { root } from '../scripts/run.mjs'

/**
 * Runs a program, the repository's tools by name, and returns what it printed.
 *
 * @param {{ folder?: string, env?: Record<string, string>, minutes?: number }} options - where, with which variables
 * beside the usual ones, and how long it may take
 * @throws with all of its output, if it exits with anything but 0
 */
export function runTool(command, args, { folder = root, env = {}, minutes = 10 } = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: folder,
    encoding: 'utf8',
    env: { ...environment(), ...env },
    maxBuffer: 1 << 28,
    timeout: minutes * 60_000,
    // Windows runs the .cmd files of tools only through a shell.
    shell: process.platform === 'win32' && !isAbsolute(command),
  })
  if (status !== 0)
    throw new Error(`${[command, ...args].join(' ')} failed.\n${stdout}${stderr}${error?.message ?? ''}`)
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
