import type { OperationTime } from '@hmar/sampler'

import type { Floor } from './floor.js'

/** What tells a pass of the plan from the others. */
export interface PlannedPass {
  readonly kind: 'next-scale' | 'masked'
  /** 1 to K. */
  readonly scale: number
}

/** What a process that ran our own engine knows of the model beside its times. */
export interface ModelFacts {
  /** The passes of the plan. */
  readonly plan: readonly PlannedPass[]
  /** Floating-point operations of a generation's passes, guidance and conditioning included. */
  readonly passFlops: number
  /** Those of its decoding. */
  readonly decodeFlops: number
  /** What a GPU of a known speed needs at least. */
  readonly floor?: Floor
}

/** What one process found of one batch size: every list has one entry a timed generation. */
export interface Measurement {
  /** Of whole generations: by the GPU's own clock where one computes, else by the host's. */
  readonly milliseconds: readonly number[]
  /** By the host's clock, where a GPU computes. */
  readonly hostMilliseconds?: readonly number[]
  readonly decodeMilliseconds: readonly number[]
  /** Each pass of the plan in turn; PyTorch's are not told apart. */
  readonly passMilliseconds?: readonly (readonly number[])[]
  readonly loadMilliseconds?: number
  readonly passes: number
  /** Tokens of all pictures of the batch. */
  readonly tokens: number
  /** The most memory there ever was: resident in the process on the CPU, allocated on a GPU. */
  readonly peakMemoryBytes: number
  /** Model and tokenizer in memory. */
  readonly weightBytes?: number
  /** What a GPU's time goes into, the costliest first; of our own engine only. */
  readonly operations?: readonly OperationTime[]
  /** Of our own engine only. */
  readonly facts?: ModelFacts
  /** PyTorch's version, where it is PyTorch that was measured. */
  readonly torch?: string
}

/** Why there is no measurement. */
export interface Skipped {
  readonly skipped: string
}
