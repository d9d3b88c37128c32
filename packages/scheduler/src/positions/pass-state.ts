import type { Pass } from '@hmar/core'

/** One picture between two passes. Arrays have an entry for each position of the pass's scale, row-major. */
export interface PassState {
  /** The pass that is done. */
  readonly pass: Pass
  /** Its index in the plan. */
  readonly index: number
  /** The picture's number within its job. */
  readonly image: number
  readonly seed: bigint
  /** The scale's tokens, `[p²]`. */
  readonly tokens: Int32Array
  /** For each token the probability with which it was drawn, after filters, `[p²]`; infinite where editing keeps it. */
  readonly confidence: Float32Array
  /** The logits after guidance, `[p², V]`; those of open positions are this pass's. */
  readonly logits: Float32Array
  /** 1 where the pass drew a token, and so may commit one, `[p²]`. */
  readonly open: Uint8Array
}

/**
 * A way of choosing positions of the caller's own: a score for each position, `[p²]`. The pass commits the open positions
 * of the highest scores, as many as its schedule says; among equal ones the higher position. NaN is refused.
 */
export type ScorePositions = (state: PassState) => ArrayLike<number>
