import { spawn } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository's folder. */
export const root = fileURLToPath(new URL('..', import.meta.url))

const environment = {
  ...process.env,
  PATH: [join(root, 'node_modules', '.bin'), process.env.PATH].join(delimiter),
  DO_NOT_TRACK: '1',
  TURBO_TELEMETRY_DISABLED: '1',
  TURBO_NO_UPDATE_NOTIFIER: '1',
}

/**
 * Runs a command in the repository's folder, its output passed on as it comes. Tools that were installed are found by
 * name.
 *
 * @param {string} command
 * @param {string[]} args
 * @returns {Promise<{ ok: boolean, output: string }>} Whether it exited with 0, and what it wrote.
 */
export function run(command, args, env = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...environment, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      // Windows runs the .cmd files of npm's tools only through a shell.
      shell: process.platform === 'win32',
    })
    let output = ''
    for (const [from, to] of [
      [child.stdout, process.stdout],
      [child.stderr, process.stderr],
    ]) {
      from.setEncoding('utf8')
      from.on('data', (text) => {
        output += text
        to.write(text)
      })
    }
    child.on('error', ({ message }) => {
      process.stderr.write(`${message}\n`)
      resolve({ ok: false, output })
    })
    child.on('close', (code) => resolve({ ok: code === 0, output }))
  })
}
