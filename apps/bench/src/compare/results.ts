import type { Pair } from './comparison.js'

/** Everything a comparison found. */
export interface ComparisonResults {
  /** Year, month and day. */
  readonly date: string
  readonly command: string
  readonly commit: string
  /** The name of what computed. */
  readonly device: string
  /** Drivers, versions. */
  readonly software: string
  readonly pairs: readonly Pair[]
}
