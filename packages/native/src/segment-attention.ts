import { HmarRangeError } from '@hmar/core'
import { z } from 'zod'

import type { NativeAttention } from './binding.js'
import { callNative } from './cancellation.js'
import type { DeviceBuffer, DeviceNumbers } from './device-buffer.js'
import { Resource } from './resource.js'

/** Width of a head: the one there are kernels for. */
const headWidth = 64
const defaultScale = 1 / Math.sqrt(headWidth)

/** Dimensions of an attention over segments. */
export interface AttentionShape {
  readonly images: number
  /** Heads of 64. */
  readonly heads: number
  /** Lengths in tokens, in order: a pyramid's p², or any other. */
  readonly segments: readonly number[]
  /** `diagonal`: a token sees its own segment. `causal`: its own and all before it. */
  readonly pattern: 'diagonal' | 'causal'
}

/** What a forward attention reads and writes. Every buffer is another one. */
export interface AttentionForward {
  /** `[images, tokens, 3, heads, 64]`, bfloat16: queries, keys, values, not normalised. */
  readonly qkv: DeviceBuffer
  /**
   * `[heads]`, float32: scores are the cosine of query and key times the head's factor. Without them, scores are `scale` times
   * their product.
   */
  readonly factors?: DeviceBuffer | undefined
  /** Defaults to 1/8. */
  readonly scale?: number | undefined
  /** `[images, tokens, heads, 64]`, bfloat16. */
  readonly out: DeviceBuffer
  /** `[images, heads, tokens]`, float32: the logarithm of the sum of e^score over what a query sees. */
  readonly lse?: DeviceBuffer | undefined
}

/** What a backward attention reads and writes. Every buffer is another one. */
export interface AttentionBackward extends Omit<AttentionForward, 'lse'> {
  /** What the forward attention left there. */
  readonly lse: DeviceBuffer
  /** `[images, tokens, heads, 64]`, bfloat16: the gradient of `out`. */
  readonly dOut: DeviceBuffer
  /** `[images, tokens, 3, heads, 64]`, bfloat16: takes the gradients of queries, keys and values, not normalised. */
  readonly dQkv: DeviceBuffer
  /** `[heads]`, float32: takes the gradients of `factors`, which it goes with. */
  readonly dFactors?: DeviceBuffer | undefined
}

const count = z.number().int().min(1).max(65_535)

export const shapeSchema = z.object({
  images: count,
  heads: count,
  segments: z.array(z.number().int().min(1)).min(1).max(65_535).readonly(),
  pattern: z.enum(['diagonal', 'causal']),
})

/**
 * Attention over one list of segments, planned once: which block of the GPU does which tiles. Head width 64, bfloat16, float32
 * sums. A result's bits do not depend on the images and heads beside it.
 */
export class SegmentAttention extends Resource {
  readonly shape: AttentionShape
  /** Of an image. */
  readonly tokens: number
  readonly #native: NativeAttention

  /** @internal */
  constructor(native: NativeAttention, shape: AttentionShape) {
    super()
    this.#native = native
    this.shape = shape
    this.tokens = shape.segments.reduce((sum, length) => sum + length, 0)
  }

  /** Operations that a forward attention has to do: two products of 64 for every query and key that meet. */
  get flops(): number {
    const { images, heads, segments, pattern } = this.shape
    let before = 0
    let pairs = 0
    for (const length of segments) {
      before += length
      pairs += length * (pattern === 'causal' ? before : length)
    }
    return 4 * images * heads * headWidth * pairs
  }

  /** Bytes that a forward attention has to move: every input read once, every output written once. */
  get bytes(): number {
    const { images, heads } = this.shape
    return 4 * 2 * images * this.tokens * heads * headWidth
  }

  /**
   * Queues a forward attention.
   *
   * @throws {HmarRangeError} `ARGUMENT_OUT_OF_RANGE` for a buffer of another dtype, shorter than its shape, given twice, or of
   *   another GPU's queue
   */
  forward({ qkv, factors, scale = defaultScale, out, lse }: AttentionForward): void {
    this.assertOpen()
    this.#check({ qkv, factors, out, lse })
    callNative(() => this.#native.forward(qkv.native, factors?.native, scale, out.native, lse?.native))
  }

  /**
   * Queues the gradients of a forward attention. Every run gives the same bits.
   *
   * @throws {HmarRangeError} `ARGUMENT_OUT_OF_RANGE` as {@link forward}, and for `dFactors` without `factors`
   */
  backward(options: AttentionBackward): void {
    const { qkv, factors, scale = defaultScale, out, lse, dOut, dQkv, dFactors } = options
    this.assertOpen()
    this.#check({ qkv, factors, out, lse, dOut, dQkv, dFactors })
    if (dFactors && !factors) throw new HmarRangeError('There are no factors to have gradients.')
    callNative(() =>
      this.#native.backward(
        qkv.native,
        factors?.native,
        scale,
        out.native,
        lse.native,
        dOut.native,
        dQkv.native,
        dFactors?.native,
      ),
    )
  }

  #check(buffers: Readonly<Record<string, DeviceBuffer | undefined>>): void {
    const { images, heads } = this.shape
    const rows = images * this.tokens
    const needs: Readonly<Record<string, readonly [DeviceNumbers, number]>> = {
      qkv: ['bf16', rows * 3 * heads * headWidth],
      out: ['bf16', rows * heads * headWidth],
      factors: ['f32', heads],
      lse: ['f32', rows * heads],
      dOut: ['bf16', rows * heads * headWidth],
      dQkv: ['bf16', rows * 3 * heads * headWidth],
      dFactors: ['f32', heads],
    }
    const given = Object.entries(buffers).flatMap(([name, buffer]) => (buffer ? [{ name, buffer }] : []))
    for (const { name, buffer } of given) check(name, buffer, ...needs[name]!)
    if (new Set(given.map(({ buffer }) => buffer)).size < given.length)
      throw new HmarRangeError('A buffer of an attention is given twice.')
  }

  protected override release(): void {
    this.#native.close()
  }
}

function check(name: string, buffer: DeviceBuffer, dtype: DeviceNumbers, length: number): void {
  buffer.assertOpen()
  if (buffer.dtype !== dtype)
    throw new HmarRangeError(`The buffer '${name}' has another dtype.`, {
      found: buffer.dtype,
      expected: dtype,
    })
  if (buffer.length < length)
    throw new HmarRangeError(`The buffer '${name}' is shorter than its shape.`, {
      found: `${buffer.length} numbers`,
      expected: `at least ${length}`,
    })
}
