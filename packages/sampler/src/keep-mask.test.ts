import { HmarRangeError } from '@hmar/core'
import { describe, expect, it } from 'vitest'

import { keepDark, keepInside, keepMaskSchema, keepOutside, shrinkMask } from './keep-mask.js'

const box = { left: 1, top: 0, width: 2, height: 3 }

describe('a mask', () => {
  it('keeps what is outside a box, or what is inside', () => {
    expect([...keepOutside(box, 4).data]).toEqual([1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1])
    expect([...keepInside(box, 4).data]).toEqual([0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0])
  })

  it.each([{ left: -1 }, { left: 3 }, { width: 0 }, { width: 4 }, { top: 2 }, { height: 1.5 }])(
    'refuses a box that leaves the picture: %o',
    (wrong) => {
      expect(() => keepOutside({ ...box, ...wrong }, 4)).toThrow(HmarRangeError)
    },
  )

  it('keeps what is dark in a painted picture, bytes or floats', () => {
    const bytes = new Uint8Array(12).fill(255, 3, 6).fill(100, 6, 9).fill(200, 9)
    expect([...keepDark({ data: bytes, width: 2, height: 2 }).data]).toEqual([1, 0, 1, 0])
    const planes = Float32Array.from([-1, 1, -1, 1, -1, 1, 0, 1, -1, 1, 0, 1])
    expect([...keepDark({ data: planes, width: 2, height: 2 }).data]).toEqual([1, 0, 1, 0])
    expect(() => keepDark({ data: bytes, width: 4, height: 1 })).toThrow(HmarRangeError)
  })

  it('gives a cell up with the first of its pixels', () => {
    const mask = keepOutside({ left: 3, top: 3, width: 2, height: 1 }, 8)
    expect([...shrinkMask(mask, 4)]).toEqual([1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    expect(shrinkMask(mask, 8)).toEqual(Float32Array.from(mask.data))
    expect([...shrinkMask({ data: Uint8Array.of(1, 0, 1, 1), side: 2 }, 3)]).toEqual([
      1, 0, 0, 1, 0, 0, 1, 1, 1,
    ])
  })

  it('has a value from 0 to 1 for each cell', () => {
    const isMask = (data: Float32Array) => keepMaskSchema.safeParse({ data, side: 2 }).success
    expect(isMask(Float32Array.of(0, 0.5, 1, 1))).toBe(true)
    expect(isMask(Float32Array.of(0, 0.5, 1))).toBe(false)
    expect(isMask(Float32Array.of(0, 0.5, 1, 1.1))).toBe(false)
    expect(isMask(Float32Array.of(0, 0.5, 1, Number.NaN))).toBe(false)
  })
})
