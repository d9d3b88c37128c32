import { checkOptions } from '@hmar/core'
import { z } from 'zod'

import { binding, type NativeInstant, type NativeQueue } from './binding.js'
import { callNative, withCancellation } from './cancellation.js'
import { DeviceBuffer, type DeviceNumbers } from './device-buffer.js'
import { type Device, resolveDevice } from './devices.js'
import { Resource } from './resource.js'
import { type AttentionShape, SegmentAttention, shapeSchema } from './segment-attention.js'

/** A point in a queue that knows when the GPU came by. */
export interface Instant {
  /**
   * Milliseconds of the GPU's own clock from an earlier point to this one, once it has come by.
   *
   * @throws {HmarRangeError} `ARGUMENT_OUT_OF_RANGE` for a point of another GPU's queue
   */
  since(earlier: Instant): Promise<number>
}

class QueueInstant implements Instant {
  readonly #native: NativeInstant

  constructor(native: NativeInstant) {
    this.#native = native
  }

  since(earlier: QueueInstant): Promise<number> {
    return withCancellation({}, () => this.#native.millisecondsSince(earlier.#native))
  }
}

const lengthSchema = z
  .number()
  .int()
  .min(1)
  .max(2 ** 32 - 1)
const numbersSchema = z.enum(['bf16', 'f32'])

/**
 * A GPU's queue: kernels one by one, for benchmarks and experiments. What is queued is done in order, while JavaScript goes on.
 *
 * @example
 * ```ts
 * await using queue = await DeviceQueue.open()
 * const attention = queue.attention({ images: 1, heads: 2, segments: [1, 4, 9], pattern: 'diagonal' })
 * const qkv = queue.buffer('bf16', attention.tokens * 3 * 2 * 64)
 * const out = queue.buffer('bf16', attention.tokens * 2 * 64)
 * const begin = queue.mark()
 * attention.forward({ qkv, scale: 0.125, out })
 * console.log(await queue.mark().since(begin), await out.read())
 * ```
 */
export class DeviceQueue extends Resource {
  readonly #native: NativeQueue

  private constructor(native: NativeQueue) {
    super()
    this.#native = native
  }

  /**
   * Opens an NVIDIA GPU.
   *
   * @param device - defaults to the first one that can be used
   * @throws {HmarError} `DEVICE_UNAVAILABLE`, with the reason, if there is none
   */
  static async open(device: Exclude<Device, 'auto' | 'cpu'> = 'cuda'): Promise<DeviceQueue> {
    const id = resolveDevice(device)
    return new DeviceQueue(await withCancellation({}, () => binding().NativeQueue.open(id)))
  }

  /**
   * So many zeros.
   *
   * @throws {HmarRangeError} `ARGUMENT_OUT_OF_RANGE` for another dtype, or a length of none or more than 2³² − 1
   * @throws {HmarError} `OUT_OF_MEMORY`
   */
  buffer(dtype: DeviceNumbers, length: number): DeviceBuffer {
    this.assertOpen()
    checkOptions('The dtype of a buffer', numbersSchema, dtype)
    checkOptions('The length of a buffer', lengthSchema, length)
    const native = callNative(() => this.#native.allocate(dtype === 'bf16', length))
    return this.#keep(new DeviceBuffer(native, this.#native, dtype, length))
  }

  /** A buffer with these numbers: a `Uint16Array` has bfloat16's bits. */
  async from(data: Float32Array | Uint16Array): Promise<DeviceBuffer> {
    const buffer = this.buffer(data instanceof Uint16Array ? 'bf16' : 'f32', data.length)
    await buffer.write(data)
    return buffer
  }

  /**
   * Plans attention over segments; see {@link SegmentAttention}.
   *
   * @throws {HmarRangeError} `ARGUMENT_OUT_OF_RANGE` for a shape that is none
   */
  attention(shape: AttentionShape): SegmentAttention {
    this.assertOpen()
    const { pattern, ...dimensions } = checkOptions('attention', shapeSchema, shape)
    const native = callNative(() =>
      this.#native.planAttention({ ...dimensions, causal: pattern === 'causal' }),
    )
    return this.#keep(new SegmentAttention(native, this.#native, shape))
  }

  /** Marks the end of what is queued. */
  mark(): Instant {
    this.assertOpen()
    return new QueueInstant(callNative(() => this.#native.mark()))
  }

  /** Waits until all that is queued is done. */
  synchronize(): Promise<void> {
    return this.whileOpen(() => withCancellation({}, () => this.#native.synchronize()))
  }

  protected override release(): void {
    this.#native.close()
  }

  #keep<Child extends Resource>(child: Child): Child {
    this.adopt(child)
    return child
  }
}
