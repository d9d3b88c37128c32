import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from '../scripts/run.mjs'
import { runTool } from './run-tool.mjs'

/**
 * Makes a project outside the repository that has nothing but these dependencies, installed by npm; and the programs of
 * `checks/consumers`.
 *
 * @param {Record<string, string>} dependencies
 * @param {string[]} options - for `npm install`
 * @param {Record<string, string>} env - variables for it
 */
export function emptyProject(dependencies, options = [], env = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'hmar-empty-'))
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, dependencies }))
  cpSync(join(root, 'checks', 'consumers'), folder, { recursive: true })
  runTool('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', ...options], { folder, env })
  return {
    folder,
    /** What a program prints. */
    run: (file, ...args) => runTool(process.execPath, [join(folder, file), ...args], { folder }).trim(),
    remove: () => rmSync(folder, { recursive: true }),
  }
}

/** The digest that `checks/consumers` have to print: of the pixels that the repository's builds make. */
export function digestOfRepository(repository = root) {
  const folder = join(repository, 'packages', 'cli', 'node_modules', '.check')
  mkdirSync(folder, { recursive: true })
  try {
    cpSync(join(repository, 'checks', 'consumers', 'generate.mjs'), join(folder, 'generate.mjs'))
    return runTool(process.execPath, [join(folder, 'generate.mjs')]).trim()
  } finally {
    rmSync(folder, { recursive: true })
  }
}
