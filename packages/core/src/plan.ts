/**
 * Which tokens a pass commits where it leaves others open for the scale's later passes: those at the head of an order.
 *
 * - `least-confident`: the least confident stay open (§4).
 * - `gumbel`: by ln(confidence) + temperature·Gumbel, the largest first.
 * - `random`: any order as likely as any other.
 * - `order`: always the same one: every position of the scale, row-major, the first to be committed first.
 * - `custom`: by a function of the caller's own, which runs between passes in a session.
 */
export type PositionOrder =
  | { readonly kind: 'least-confident' }
  | { readonly kind: 'gumbel'; readonly temperature: number }
  | { readonly kind: 'random' }
  | { readonly kind: 'order'; readonly order: readonly number[] }
  | { readonly kind: 'custom'; readonly name: string }

/**
 * One pass of the transformer over the tokens of one scale: plain data, as the engine takes it. Its index in
 * {@link PassList.passes} is part of the address of its random numbers.
 */
export interface Pass {
  /** Next-scale prediction of a whole map, or masked refinement of the map's least confident tokens (§4). */
  readonly kind: 'next-scale' | 'masked'
  /** The scale, from 1. */
  readonly scale: number
  /** The side of the scale's token map, p_k. */
  readonly side: number
  /** How many of the scale's tokens are open before this pass and committed by it, n_i. */
  readonly commits: number
  /** t in (1 + t)·conditional − t·unconditional. */
  readonly guidance: number
  /** Logits are divided by it; above 0. */
  readonly temperature: number
  /** Keep the logits not below the k-th largest; 0 = all. */
  readonly topK: number
  /** Keep the most probable tokens that together reach p; 0 = all. */
  readonly topP: number
  /** Keep tokens at least this times as probable as the most probable one; 0 = all. */
  readonly minP: number
  /** Soft decoding (§4.2): pictures only, at scales without masked passes. */
  readonly smooth: boolean
  /** Which tokens it commits, where it leaves others open. Defaults to `least-confident`. */
  readonly positions?: PositionOrder
  /**
   * How many of the scale's tokens that earlier passes committed are open again before this masked pass, the least
   * confident first. Over a scale, Σ commits − Σ revises = p². Defaults to 0.
   */
  readonly revises?: number
}

/** What the engine runs: a pyramid and every pass over it, in order. */
export interface PassList {
  readonly pyramid: readonly number[]
  readonly passes: readonly Pass[]
}
