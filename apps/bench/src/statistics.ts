/** What a list of repeated measurements comes to. */
export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
  /** (max − min) / median. */
  readonly spread: number
  readonly count: number
}

/** @param values - at least one */
export function summarize(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  const median = (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2
  const min = sorted[0]!
  const max = sorted.at(-1)!
  return { median, min, max, spread: (max - min) / median, count: sorted.length }
}
