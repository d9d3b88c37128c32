import type { ShapePicture } from '../render.js'
import { readSafetensors, type Safetensors } from '../safetensors.js'

/** A `[channels, side, side]` map. */
interface FeatureMap {
  readonly data: Float32Array
  readonly channels: number
  readonly side: number
}

/** A convolution of stride 2, zero-padded by half the kernel, and a ReLU. */
function convolve(weights: Safetensors, name: string, input: FeatureMap): FeatureMap {
  const { shape, data: kernel } = weights.floats(`${name}.weight`)
  const bias = weights.floats(`${name}.bias`).data
  const [channels, , size] = shape as [number, number, number]
  const side = input.side / 2
  const data = new Float32Array(channels * side * side)
  for (let out = 0, at = 0; out < channels; out++)
    for (let row = 0; row < side; row++)
      for (let column = 0; column < side; column++, at++) {
        let sum = bias[out]!
        for (let channel = 0; channel < input.channels; channel++)
          for (let i = 0; i < size; i++) {
            const y = row * 2 + i - (size >> 1)
            if (y < 0 || y >= input.side) continue
            for (let j = 0; j < size; j++) {
              const x = column * 2 + j - (size >> 1)
              if (x < 0 || x >= input.side) continue
              sum +=
                kernel[((out * input.channels + channel) * size + i) * size + j]! *
                input.data[(channel * input.side + y) * input.side + x]!
            }
          }
        data[at] = Math.max(sum, 0)
      }
  return { data, channels, side }
}

function linear(weights: Safetensors, name: string, input: Float32Array): Float32Array {
  const matrix = weights.floats(`${name}.weight`).data
  return weights
    .floats(`${name}.bias`)
    .data.map((bias, row) =>
      input.reduce((sum, value, i) => sum + matrix[row * input.length + i]! * value, bias),
    )
}

/**
 * The network that measures whether pictures show what they should; its file's metadata says how it runs.
 *
 * @param file - Where its weights are; a program that bundles this has to say.
 */
export function loadClassifier(
  file = new URL('../../fixtures/classifier.safetensors', import.meta.url),
): (picture: ShapePicture) => number {
  const weights = readSafetensors(file)
  return ({ data, width: side }) => {
    const planes = new Float32Array(data.length)
    for (let pixel = 0; pixel < side * side; pixel++)
      for (let channel = 0; channel < 3; channel++)
        planes[channel * side * side + pixel] = data[pixel * 3 + channel]! / 127.5 - 1
    let map: FeatureMap = { data: planes, channels: 3, side }
    for (const name of ['conv1', 'conv2', 'conv3']) map = convolve(weights, name, map)
    const hidden = linear(weights, 'linear1', map.data).map((x) => Math.max(x, 0))
    const scores = linear(weights, 'linear2', hidden)
    return scores.indexOf(Math.max(...scores))
  }
}
