import { type BenchCase, caseName, engineName } from './cases.js'
import { formatMemory, formatTime } from './format.js'
import { measure, type Setting } from './measure.js'
import type { Measurement, Skipped } from './measurement.js'
import { type CaseResult, type SkippedCase, summarizeCase } from './results.js'

/**
 * Measures all cases of a model. The processes take turns, round by round, so that what changes in the machine meanwhile
 * meets all of them.
 *
 * @param groups - the cases, those together that share a process
 */
export async function measureInRounds(
  groups: readonly (readonly BenchCase[])[],
  rounds: number,
  setting: Setting,
): Promise<(CaseResult | SkippedCase)[]> {
  const cases = groups.flat()
  const runs = new Map<BenchCase, Measurement[]>(cases.map((benchCase) => [benchCase, []]))
  const skipped = new Map<BenchCase, string>()
  for (let round = 1; round <= rounds; round++)
    for (const group of groups) {
      const open = group.filter((benchCase) => !skipped.has(benchCase))
      if (open.length === 0) continue
      const found = await measure(open, setting)
      for (const [index, benchCase] of open.entries()) {
        const result = found[index] ?? { skipped: 'its process ended before' }
        if ('skipped' in result) skipped.set(benchCase, result.skipped)
        else runs.get(benchCase)!.push(result)
        console.error(`${round}/${rounds} ${caseName(benchCase)}: ${outcome(result)}`)
      }
    }
  return cases.map((benchCase) => {
    const reason = skipped.get(benchCase)
    if (reason !== undefined) return { ...benchCase, name: engineName(benchCase), skipped: reason }
    return summarizeCase(benchCase, runs.get(benchCase)!)
  })
}

const outcome = (result: Measurement | Skipped) =>
  'skipped' in result
    ? result.skipped
    : `${formatTime(Math.min(...result.milliseconds))}, ${formatMemory(result.peakMemoryBytes)}`
