import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { countVitest, nothing, withOutcome } from './counts.mjs'
import { run } from './run.mjs'

/**
 * Runs vitest, and counts.
 *
 * @param {string[]} words
 * @returns {Promise<import('./counts.mjs').Counts>}
 */
export async function testWithVitest(words = []) {
  const folder = mkdtempSync(join(tmpdir(), 'hmar-test-'))
  const report = join(folder, 'vitest.json')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const { ok } = await run('vitest', ['run', ...words, ...reporters])
  const counts = existsSync(report) ? countVitest(readFileSync(report, 'utf8')) : nothing
  rmSync(folder, { recursive: true })
  return withOutcome(ok, counts)
}
