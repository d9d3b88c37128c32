import { checkInteger, HmarRangeError } from '@hmar/core'

import type { NativeDeviceBuffer, NativeQueue } from './binding.js'
import { callNative, withCancellation } from './cancellation.js'
import { Resource } from './resource.js'

/** What a buffer on a GPU holds. */
export type DeviceNumbers = 'bf16' | 'f32'

/** Numbers in a GPU's memory, until it is closed. Made by a {@link DeviceQueue}, and closed with it. */
export class DeviceBuffer extends Resource {
  readonly dtype: DeviceNumbers
  /** Numbers. */
  readonly length: number
  /** @internal */
  readonly native: NativeDeviceBuffer
  /** @internal */
  readonly queue: NativeQueue

  /** @internal */
  constructor(native: NativeDeviceBuffer, queue: NativeQueue, dtype: DeviceNumbers, length: number) {
    super()
    this.native = native
    this.queue = queue
    this.dtype = dtype
    this.length = length
  }

  /**
   * Copies numbers to its start. Float32 is rounded where the buffer is bfloat16; a `Uint16Array` has bfloat16's bits.
   *
   * @throws {HmarRangeError} `ARGUMENT_OUT_OF_RANGE` if they are more than it holds, or bfloat16 for a float32 buffer
   */
  async write(data: Float32Array | Uint16Array): Promise<void> {
    if (data.length > this.length)
      throw new HmarRangeError('The data does not fit into the buffer.', {
        found: `${data.length} numbers`,
        expected: `at most ${this.length}`,
      })
    if (data instanceof Uint16Array && this.dtype === 'f32')
      throw new HmarRangeError("A buffer of dtype 'f32' takes a Float32Array.", {
        found: 'a Uint16Array',
      })
    await this.whileOpen(() =>
      withCancellation({}, () =>
        data instanceof Uint16Array ? this.native.writeBfloat16(data) : this.native.writeFloat32(data),
      ),
    )
  }

  /** All of it, once what is queued before is done. */
  read(): Promise<Float32Array> {
    return this.whileOpen(() => withCancellation({}, () => this.native.read()))
  }

  /**
   * Sets every byte: 255 makes all numbers NaN, so that one that is never written shows.
   *
   * @throws {HmarRangeError} `ARGUMENT_OUT_OF_RANGE` for what is no byte
   */
  fill(byte: number): void {
    this.assertOpen()
    checkInteger('The byte', byte, 0, 255)
    callNative(() => this.native.fill(byte))
  }

  protected override release(): void {
    this.native.close()
  }
}
