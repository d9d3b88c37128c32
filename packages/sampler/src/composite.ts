import { HmarImage, type Picture } from '@hmar/tokenizer'

import type { KeepMask } from './keep-mask.js'

/** What of a source is put back into a picture. */
export interface Composited {
  /** The source's bytes, interleaved. */
  readonly source: Uint8Array
  readonly mask: KeepMask
  /** Pixels on either side of an edge over which the two blend; 0 cuts. */
  readonly feather: number
}

/** Puts the source's pixels back where a mask keeps them (§4.3): the decoder alone shifts them slightly. */
export function composite(image: HmarImage, { source, mask, feather }: Composited): HmarImage {
  const weights = blurred(keptPixels(mask, image.width), image.width, feather)
  const data = image.data.map((value, at) => {
    const weight = weights[Math.floor(at / 3)]!
    return Math.round(value + weight * (source[at]! - value))
  })
  return new HmarImage({ data, width: image.width, height: image.height })
}

/** A picture's bytes, interleaved. */
export function bytesOf({ data, width, height }: Picture): Uint8Array {
  if (!(data instanceof Float32Array)) return Uint8Array.from(data)
  const area = width * height
  const byte = (value: number) => Math.round((value + 1) * 127.5)
  return Uint8Array.from(data, (_, at) => byte(data[(at % 3) * area + Math.floor(at / 3)]!))
}

/** 1 where the mask, resized bilinearly with half-pixel centres, is above one half: what keeps tokens, too. */
export function keptPixels({ data, side }: KeepMask, to: number): Float32Array {
  const place = (index: number) => {
    const at = Math.max(((index + 0.5) * side) / to - 0.5, 0)
    const low = Math.min(Math.floor(at), side - 1)
    return { low, high: Math.min(low + 1, side - 1), share: at - low }
  }
  const places = Array.from({ length: to }, (_, index) => place(index))
  return Float32Array.from({ length: to * to }, (_, pixel) => {
    const [down, across] = [places[Math.floor(pixel / to)]!, places[pixel % to]!]
    const row = (y: number) =>
      (1 - across.share) * data[y * side + across.low]! + across.share * data[y * side + across.high]!
    return (1 - down.share) * row(down.low) + down.share * row(down.high) > 0.5 ? 1 : 0
  })
}

/** Averages over squares of `2 · radius + 1` pixels; beyond the border the picture goes on as at it. */
function blurred(values: Float32Array, side: number, radius: number): Float32Array {
  if (radius === 0) return values
  const clamp = (at: number) => Math.min(Math.max(at, 0), side - 1)
  const along = (from: Float32Array, at: (line: number, place: number) => number) => {
    const result = new Float32Array(from.length)
    const value = (line: number, place: number) => from[at(line, clamp(place))]!
    for (let line = 0; line < side; line++) {
      // Goes along with the square. It stays exact: float32 from 1/513 to 1, fewer than 2¹⁰ of them, fit into a double.
      let sum = 0
      for (let step = -radius; step <= radius; step++) sum += value(line, step)
      for (let place = 0; place < side; place++) {
        result[at(line, place)] = sum / (2 * radius + 1)
        sum += value(line, place + radius + 1) - value(line, place - radius)
      }
    }
    return result
  }
  const rows = along(values, (row, column) => row * side + column)
  return along(rows, (column, row) => row * side + column)
}
