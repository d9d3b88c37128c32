import { describe, expect, it } from 'vitest'

import { encoderPixels } from './pixels.js'

describe('encoderPixels', () => {
  it('puts bytes into planes, b/127.5 − 1', () => {
    const data = Uint8Array.from([0, 255, 51, 102, 153, 204, 1, 2, 3, 4, 5, 6])
    const planes = encoderPixels({ data, width: 2, height: 2 }, 2)
    const plane = (...bytes: number[]) => bytes.map((byte) => Math.fround(byte / 127.5 - 1))
    expect([...planes]).toEqual([...plane(0, 102, 1, 4), ...plane(255, 153, 2, 5), ...plane(51, 204, 3, 6)])
  })

  it('takes floats as they are', () => {
    const data = Float32Array.from({ length: 12 }, (_, i) => i / 6 - 1)
    expect(encoderPixels({ data, width: 2, height: 2 }, 2)).toEqual(data)
  })

  it('refuses another size, with both', () => {
    const picture = { data: new Uint8Array(3 * 3 * 2), width: 3, height: 2 }
    expect(() => encoderPixels(picture, 2)).toThrow(
      expect.objectContaining({ code: 'IMAGE_INVALID', found: '3×2', expected: '2×2' }),
    )
  })

  it.each([
    ['an alpha channel', new Uint8Array(16)],
    ['another number type', new Float64Array(12)],
    ['a plain array', Array(12).fill(0)],
    ['bytes given as floats', new Float32Array(12).fill(255)],
    ['a NaN', new Float32Array(12).fill(Number.NaN)],
  ])('refuses %s', (_, data) => {
    expect(() => encoderPixels({ data: data as Uint8Array, width: 2, height: 2 }, 2)).toThrow(
      expect.objectContaining({ code: 'IMAGE_INVALID' }),
    )
  })
})
