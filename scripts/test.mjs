// Every test of both languages; with --lint also the linters, each as a test, and the checks of what would be published.
// The last line is the sum.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { countCargo, countVitest, nothing, sum, withOutcome } from './counts.mjs'
import { linters } from './linters.mjs'
import { prepare } from './prepare.mjs'
import { run } from './run.mjs'

const { passed, failed } = sum((await prepare()) ? await runAll() : [withOutcome(false, nothing)])
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

async function runAll() {
  const results = []
  const thorough = process.argv.includes('--lint')
  if (thorough) for (const linter of linters) results.push(await lint(...linter))
  results.push(await testRust(), await runVitest())
  if (thorough) results.push(await runVitest('--config', 'checks/vitest.config.mjs'))
  return results
}

async function lint(command, args) {
  const { ok } = await run(command, args)
  return withOutcome(ok, { passed: ok ? 1 : 0, failed: 0 })
}

async function testRust() {
  const { ok, output } = await run('cargo', [
    'test',
    '--manifest-path',
    'kernels-rs/Cargo.toml',
    '--workspace',
    '--no-fail-fast',
  ])
  return withOutcome(ok, countCargo(output))
}

async function runVitest(...options) {
  const folder = mkdtempSync(join(tmpdir(), 'hmar-test-'))
  const report = join(folder, 'vitest.json')
  const { ok } = await run('vitest', [
    'run',
    ...options,
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
  ])
  const counts = existsSync(report) ? countVitest(readFileSync(report, 'utf8')) : nothing
  rmSync(folder, { recursive: true })
  return withOutcome(ok, counts)
}
