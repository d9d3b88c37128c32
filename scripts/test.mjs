// Every test of both languages, in a browser too where there is one; with --lint also the linters, each as a test, and the
// checks of what would be published. The last line is the sum.
import { countCargo, nothing, sum, withOutcome } from './counts.mjs'
import { chromiumMissing, testEndToEnd } from './end-to-end.mjs'
import { linters } from './linters.mjs'
import { prepare } from './prepare.mjs'
import { run } from './run.mjs'
import { testWithVitest } from './vitest.mjs'

const { passed, failed } = sum((await prepare()) ? await runAll() : [withOutcome(false, nothing)])
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

async function runAll() {
  const results = []
  const thorough = process.argv.includes('--lint')
  if (thorough) for (const linter of linters) results.push(await lint(...linter))
  results.push(await testRust(), await testWithVitest())
  const missing = chromiumMissing()
  if (missing) process.stderr.write(missing)
  else results.push(await testEndToEnd())
  if (thorough) results.push(await testWithVitest(['--config', 'checks/vitest.config.mjs']))
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
