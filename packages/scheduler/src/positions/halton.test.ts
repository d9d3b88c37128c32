import { describe, expect, it } from 'vitest'
import { haltonOrder } from './halton.js'

describe('haltonOrder', () => {
  it('is the sequence of bases 2 and 3, by hand', () => {
    // Points (1/2, 1/3), (1/4, 2/3), (3/4, 1/9), (1/8, 4/9), (5/8, 7/9), (3/8, 2/9) in a map of 4 × 4.
    expect(haltonOrder(4).slice(0, 6)).toEqual([9, 6, 12, 1, 11, 4])
    expect(haltonOrder(1)).toEqual([0])
  })

  it.each([2, 3, 5, 8, 16, 64])('visits each position of side %i once', (side) => {
    expect(haltonOrder(side).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: side * side }, (_, position) => position),
    )
  })

  it('is evenly spread after any number of steps', () => {
    const order = haltonOrder(16)
    for (let count = 16; count <= 256; count++) {
      const quadrants = [0, 0, 0, 0]
      for (const position of order.slice(0, count))
        quadrants[2 * Number(position >= 128) + Number(position % 16 >= 8)]! += 1
      expect(Math.max(...quadrants) - Math.min(...quadrants)).toBeLessThanOrEqual(6)
    }
  })
})
