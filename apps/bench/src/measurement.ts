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
  /** Model and tokenizer in memory. */
  readonly weightBytes: number
}

/** What one process found: every list has one entry a timed generation. */
export interface Measurement {
  readonly milliseconds: readonly number[]
  readonly decodeMilliseconds: readonly number[]
  /** Each pass of the plan in turn; PyTorch's are not told apart. */
  readonly passMilliseconds?: readonly (readonly number[])[]
  readonly loadMilliseconds?: number
  readonly passes: number
  /** Tokens of all pictures of the batch. */
  readonly tokens: number
  /** The most memory the process ever had resident. */
  readonly peakMemoryBytes: number
  /** Of our own engine only. */
  readonly facts?: ModelFacts
  /** PyTorch's version, where it is PyTorch that was measured. */
  readonly torch?: string
}
