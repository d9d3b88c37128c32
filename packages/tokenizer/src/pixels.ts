import { HmarError } from '@hmar/core'

/** A picture to encode. */
export interface Picture {
  /** Bytes `[height, width, 3]`, RGB; or floats `[3, height, width]` in [-1, 1], where a byte b is b/127.5 − 1. */
  readonly data: Uint8Array | Uint8ClampedArray | Float32Array
  /** In pixels. */
  readonly width: number
  /** In pixels. */
  readonly height: number
}

const pixelTypes = [Uint8Array, Uint8ClampedArray, Float32Array]

/**
 * The floats `[3, side, side]` in [-1, 1] that the encoder takes.
 *
 * @throws {HmarError} `IMAGE_INVALID` for other than `side × side` pixels, a wrong number of values, or values outside [-1, 1]
 */
export function encoderPixels({ data, width, height }: Picture, side: number): Float32Array {
  if (width !== side || height !== side)
    throw new HmarError(
      'IMAGE_INVALID',
      `The tokenizer cannot encode a picture of ${width}×${height} pixels.`,
      {
        found: `${width}×${height}`,
        expected: `${side}×${side}`,
        remedy: 'Crop and resize the picture first.',
      },
    )
  if (!pixelTypes.some((type) => data instanceof type))
    throw new HmarError('IMAGE_INVALID', 'The values of a picture are of another type.', {
      found: Object.prototype.toString.call(data),
      expected: pixelTypes.map(({ name }) => name).join(', '),
    })
  if (data.length !== 3 * side * side)
    throw new HmarError(
      'IMAGE_INVALID',
      `A picture of ${side}×${side} pixels does not have ${data.length} values.`,
      {
        found: `${data.length} values`,
        expected: `${3 * side * side}: red, green and blue for each pixel, no alpha`,
      },
    )
  if (data instanceof Float32Array) {
    const stray = data.find((value) => !(value >= -1 && value <= 1))
    if (stray === undefined) return data
    throw new HmarError('IMAGE_INVALID', 'A picture given as floats has a value outside [-1, 1].', {
      found: String(stray),
      expected: '[3, height, width] in [-1, 1]: a byte b becomes b/127.5 − 1',
    })
  }
  const area = side * side
  const planes = new Float32Array(3 * area)
  for (let pixel = 0; pixel < area; pixel++)
    for (let channel = 0; channel < 3; channel++)
      planes[channel * area + pixel] = data[pixel * 3 + channel]! / 127.5 - 1
  return planes
}
