import type { OperationTime } from '@hmar/sampler'

import { type BenchCase, engineName } from './cases.js'
import type { Host } from './host.js'
import type { Measurement, PlannedPass } from './measurement.js'
import type { Opening } from './opening.js'
import { type Summary, summarize } from './statistics.js'

/** A pass of the plan, its median time, and what a GPU of a known speed needs at least. */
interface PassTime extends PlannedPass {
  readonly milliseconds: number
  readonly floor?: number
}

/** A case that was measured. */
export interface CaseResult extends BenchCase {
  readonly name: string
  /** Milliseconds of a whole generation, from labels to pixels; by the GPU's clock where one computes. */
  readonly time: Summary
  /** The same by the host's clock, where a GPU computes; of our own engine only. */
  readonly hostTime?: Summary
  readonly decode: Summary
  /** Milliseconds that the GPU needs at least, where its speed is known. */
  readonly floor?: number
  /** That of decoding alone. */
  readonly decodeFloor?: number
  readonly passes: number
  /** In the plan's order; of our own engine only. */
  readonly passTimes?: readonly PassTime[]
  /** What a GPU's time goes into, the costliest first; of our own engine only. */
  readonly operations?: readonly OperationTime[]
  readonly loadMilliseconds?: number
  readonly tokensPerSecond: number
  /** Of the process on the CPU, of its memory there on a GPU. */
  readonly peakMemoryBytes: number
  /** Bytes of the model's and the tokenizer's weights in memory. */
  readonly weightBytes?: number
  /** PyTorch's version. */
  readonly torch?: string
  /** Billions of operations a second in the passes, by the schedule's count; of our own engine only. */
  readonly passGigaflops?: number
  /** The same of decoding. */
  readonly decodeGigaflops?: number
  /** PyTorch's median over this one's, on the same device, model and batch. */
  readonly speedup?: number
  /** The same with PyTorch in one CUDA graph. */
  readonly graphSpeedup?: number
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
  readonly quick: boolean
  readonly cases: readonly (CaseResult | SkippedCase)[]
  readonly openings: readonly Opening[]
}

export const isMeasured = (result: CaseResult | SkippedCase): result is CaseResult => 'time' in result

/**
 * Sums up the measurements of a case's processes.
 *
 * @param runs - at least one
 */
export function summarizeCase(benchCase: BenchCase, runs: readonly Measurement[]): CaseResult {
  const [{ passes, tokens, facts, torch, operations, weightBytes }] = runs as [Measurement]
  const time = summarize(runs.flatMap(({ milliseconds }) => milliseconds))
  const decode = summarize(runs.flatMap(({ decodeMilliseconds }) => decodeMilliseconds))
  const hostTimes = runs.flatMap(({ hostMilliseconds }) => hostMilliseconds ?? [])
  const loads = runs.flatMap(({ loadMilliseconds }) => loadMilliseconds ?? [])
  const floor = facts?.floor
  return {
    ...benchCase,
    name: engineName(benchCase),
    time,
    ...(hostTimes.length > 0 && { hostTime: summarize(hostTimes) }),
    decode,
    ...(floor && { floor: floor.total, decodeFloor: floor.decoding }),
    passes,
    tokensPerSecond: tokens / (time.median / 1000),
    peakMemoryBytes: Math.max(...runs.map(({ peakMemoryBytes }) => peakMemoryBytes)),
    ...(weightBytes !== undefined && { weightBytes }),
    ...(loads.length > 0 && { loadMilliseconds: summarize(loads).median }),
    ...(torch && { torch }),
    ...(operations && { operations }),
    ...(facts && {
      passTimes: facts.plan.map(({ kind, scale }, pass) => ({
        kind,
        scale,
        milliseconds: summarize(
          runs.flatMap((run) => run.passMilliseconds?.map((times) => times[pass]!) ?? []),
        ).median,
        ...(floor && { floor: floor.passes[pass]! }),
      })),
      passGigaflops: facts.passFlops / (time.median - decode.median) / 1e6,
      decodeGigaflops: facts.decodeFlops / decode.median / 1e6,
    }),
  }
}

/** Sets every case in relation to PyTorch's on the same device, model and batch, whose work has the same floor. */
export function withComparisons(
  results: readonly (CaseResult | SkippedCase)[],
): (CaseResult | SkippedCase)[] {
  const measured = results.filter(isMeasured)
  return results.map((result) => {
    if (!isMeasured(result)) return result
    const beside = (engine: BenchCase['engine']) =>
      measured.find(
        (other) =>
          other.engine === engine &&
          other.device === result.device &&
          other.model === result.model &&
          other.batch === result.batch,
      )
    const [ours, eager, graph] = [beside('hmar'), beside('pytorch'), beside('pytorch-graph')]
    return {
      ...result,
      ...(ours?.floor && { floor: ours.floor, decodeFloor: ours.decodeFloor! }),
      ...(eager && { speedup: eager.time.median / result.time.median }),
      ...(graph && { graphSpeedup: graph.time.median / result.time.median }),
    }
  })
}
