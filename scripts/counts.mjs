/**
 * @typedef {{ passed: number, failed: number }} Counts
 */

/** @type {Counts} */
export const nothing = { passed: 0, failed: 0 }

/** The sum of `test result:` lines, of which cargo prints one for each test binary and each crate's doctests. */
export function countCargo(output) {
  const counts = { ...nothing }
  for (const [, passed, failed] of output.matchAll(/^test result: .* (\d+) passed; (\d+) failed;/gm)) {
    counts.passed += Number(passed)
    counts.failed += Number(failed)
  }
  return counts
}

/** The counts in a report of vitest's JSON reporter. */
export function countVitest(report) {
  const { numPassedTests, numFailedTests } = JSON.parse(report)
  return { passed: numPassedTests, failed: numFailedTests }
}

/** Counts of a runner that also says whether all went well: one that broke down has at least one failure. */
export function withOutcome(ok, { passed, failed }) {
  return { passed, failed: ok ? failed : Math.max(failed, 1) }
}

/** Counts added up. */
export function sum(all) {
  return all.reduce(
    (total, { passed, failed }) => ({ passed: total.passed + passed, failed: total.failed + failed }),
    nothing,
  )
}
