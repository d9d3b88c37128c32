/** Arithmetic and traffic. */
export interface Work {
  /** Floating-point operations, a multiplication and an addition being two. */
  readonly flops: number
  /** Bytes of weights read. */
  readonly weightBytes: number
}
