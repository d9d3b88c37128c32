import { type BenchCase, engineName, repetitions } from './cases.js'
import { formatMemory, formatTime } from './format.js'
import { measure } from './measure.js'
import type { Measurement } from './measurement.js'
import { type CaseResult, type SkippedCase, summarizeCase } from './results.js'

/** How all cases are run. */
export interface RoundOptions {
  /** Once and with few repetitions. */
  readonly quick: boolean
  readonly threads: number
  readonly folderOf: (benchCase: BenchCase) => string
}

/** Lets the cases take turns, round by round, so that what changes in the machine meanwhile meets all of them. */
export async function measureInRounds(
  cases: readonly BenchCase[],
  { quick, threads, folderOf }: RoundOptions,
): Promise<(CaseResult | SkippedCase)[]> {
  const runs = new Map<BenchCase, Measurement[]>(cases.map((benchCase) => [benchCase, []]))
  const skipped = new Map<BenchCase, string>()
  const rounds = quick ? 1 : 3
  for (let round = 1; round <= rounds; round++)
    for (const benchCase of cases) {
      if (skipped.has(benchCase)) continue
      const setting = { folder: folderOf(benchCase), threads, ...repetitions(benchCase.model, quick) }
      const result = await measure(benchCase, setting)
      if ('skipped' in result) skipped.set(benchCase, result.skipped)
      else runs.get(benchCase)!.push(result)
      const outcome =
        'skipped' in result
          ? result.skipped
          : `${formatTime(Math.min(...result.milliseconds))}, ${formatMemory(result.peakMemoryBytes)}`
      console.error(
        `${round}/${rounds} ${benchCase.model} ×${benchCase.batch} ${engineName(benchCase)}: ${outcome}`,
      )
    }
  return cases.map((benchCase) => {
    const reason = skipped.get(benchCase)
    if (reason !== undefined) return { ...benchCase, name: engineName(benchCase), skipped: reason }
    return summarizeCase(benchCase, runs.get(benchCase)!)
  })
}
