import type { HmarSampler } from '@hmar/sampler'
import type { Goldens } from '@hmar/shapes'

/** What a check came to. */
export interface Outcome {
  readonly ok: boolean
  readonly found: string
  readonly expected: string
  /** Where the first difference is. */
  readonly first?: string | undefined
}

/** One thing that a machine computes, held to what it should be. */
export interface Check {
  readonly what: string
  readonly run: () => Promise<Outcome>
}

/** What is checked, and by what. */
export interface Subject {
  readonly sampler: HmarSampler
  readonly goldens: Goldens
  readonly signal: AbortSignal
}
