import { HmarImage } from '@hmar/tokenizer'
import { describe, expect, it } from 'vitest'

import { bytesOf, composite } from './composite.js'
import { keepOutside } from './keep-mask.js'

const side = 8
const image = new HmarImage({ data: new Uint8Array(side * side * 3).fill(10), width: side, height: side })
const source = new Uint8Array(side * side * 3).fill(110)
/** The right half is kept. */
const half = keepOutside({ left: 0, top: 0, width: 4, height: 8 }, side)
const row = (picture: HmarImage) => Array.from({ length: side }, (_, x) => picture.data[3 * (side * 3 + x)])

describe('compositing', () => {
  it('cuts without feather', () => {
    expect(row(composite(image, { source, mask: half, feather: 0 }))).toEqual([
      10, 10, 10, 10, 110, 110, 110, 110,
    ])
  })

  it('blends over as many pixels on either side', () => {
    expect(row(composite(image, { source, mask: half, feather: 2 }))).toEqual([
      10, 10, 30, 50, 70, 90, 110, 110,
    ])
  })

  it('cuts a coarse mask where tokens are cut', () => {
    const coarse = { data: Float32Array.of(0, 1, 0, 1), side: 2 }
    expect(row(composite(image, { source, mask: coarse, feather: 0 }))).toEqual([
      10, 10, 10, 10, 110, 110, 110, 110,
    ])
  })

  it('takes the bytes of floats, and a copy of bytes', () => {
    expect([...bytesOf({ data: Float32Array.of(-1, 1, 0), width: 1, height: 1 })]).toEqual([0, 255, 128])
    const data = Uint8Array.of(1, 2, 3)
    expect(bytesOf({ data, width: 1, height: 1 })).toEqual(data)
    expect(bytesOf({ data, width: 1, height: 1 })).not.toBe(data)
  })
})
