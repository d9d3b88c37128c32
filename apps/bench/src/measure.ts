import type { BenchCase } from './cases.js'
import { type ChildSetting, measureHmar } from './hmar-process.js'
import type { Measurement, Skipped } from './measurement.js'
import { measurePytorch } from './pytorch-process.js'

/** What cases are run with. */
export type Setting = Pick<ChildSetting, 'folder' | 'threads' | 'warmup' | 'repeats' | 'gpu'>

/**
 * Measures cases that differ in their batch only, in a process of their own: its peak memory is theirs, and nobody else's
 * threads are awake.
 *
 * @returns one for each case; why not, where it cannot run here
 */
export function measure(
  cases: readonly BenchCase[],
  setting: Setting,
): Promise<readonly (Measurement | Skipped)[]> {
  const [{ engine, device, dtype }] = cases as [BenchCase]
  const whole = { ...setting, device, dtype, batches: cases.map(({ batch }) => batch) }
  return engine === 'hmar' ? measureHmar(whole) : measurePytorch(whole, engine === 'pytorch-graph')
}
