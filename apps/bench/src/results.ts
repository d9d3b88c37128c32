import { type BenchCase, engineName } from './cases.js'
import type { Host } from './host.js'
import type { Measurement, PlannedPass } from './measurement.js'
import { type Summary, summarize } from './statistics.js'

/** A pass of the plan and its median time. */
interface PassTime extends PlannedPass {
  readonly milliseconds: number
}

/** A case that was measured. */
export interface CaseResult extends BenchCase {
  readonly name: string
  /** Milliseconds of a whole generation, from labels to pixels. */
  readonly time: Summary
  readonly decode: Summary
  readonly passes: number
  /** In the plan's order; of our own engine only. */
  readonly passTimes?: readonly PassTime[]
  readonly loadMilliseconds?: number
  readonly tokensPerSecond: number
  readonly peakMemoryBytes: number
  /** PyTorch's version. */
  readonly torch?: string
  /** Bytes of the model's and the tokenizer's weights in memory; of our own engine only. */
  readonly weightBytes?: number
  /** Billions of operations a second in the passes, by the schedule's count; of our own engine only. */
  readonly passGigaflops?: number
  /** The same of decoding. */
  readonly decodeGigaflops?: number
  /** PyTorch float32's median over this one's, on the same model and batch. */
  readonly speedup?: number
}

/** A case that could not be measured here. */
export interface SkippedCase extends BenchCase {
  readonly name: string
  readonly skipped: string
}

/** Everything one run of the bench found. */
export interface Results {
  /** Year, month and day. */
  readonly date: string
  readonly command: string
  readonly commit: string
  readonly host: Host
  /** Node's version. */
  readonly node: string
  readonly threads: number
  readonly cases: readonly (CaseResult | SkippedCase)[]
}

export const isMeasured = (result: CaseResult | SkippedCase): result is CaseResult => 'time' in result

/**
 * Sums up the measurements of a case's processes.
 *
 * @param runs - at least one
 */
export function summarizeCase(benchCase: BenchCase, runs: readonly Measurement[]): CaseResult {
  const [{ passes, tokens, facts, torch }] = runs as [Measurement]
  const time = summarize(runs.flatMap(({ milliseconds }) => milliseconds))
  const decode = summarize(runs.flatMap(({ decodeMilliseconds }) => decodeMilliseconds))
  return {
    ...benchCase,
    name: engineName(benchCase),
    time,
    decode,
    passes,
    tokensPerSecond: tokens / (time.median / 1000),
    peakMemoryBytes: Math.max(...runs.map(({ peakMemoryBytes }) => peakMemoryBytes)),
    ...(torch && { torch }),
    ...(facts && {
      passTimes: facts.plan.map(({ kind, scale }, pass) => ({
        kind,
        scale,
        milliseconds: summarize(
          runs.flatMap((run) => run.passMilliseconds?.map((times) => times[pass]!) ?? []),
        ).median,
      })),
      loadMilliseconds: summarize(runs.flatMap(({ loadMilliseconds }) => loadMilliseconds ?? [])).median,
      weightBytes: facts.weightBytes,
      passGigaflops: facts.passFlops / (time.median - decode.median) / 1e6,
      decodeGigaflops: facts.decodeFlops / decode.median / 1e6,
    }),
  }
}

/** Sets every case in relation to PyTorch's on the same model and batch. */
export function withSpeedups(results: readonly (CaseResult | SkippedCase)[]): (CaseResult | SkippedCase)[] {
  const peers = results.filter(isMeasured).filter(({ engine }) => engine === 'pytorch')
  return results.map((result) => {
    const peer = peers.find(({ model, batch }) => model === result.model && batch === result.batch)
    return isMeasured(result) && peer ? { ...result, speedup: peer.time.median / result.time.median } : result
  })
}
