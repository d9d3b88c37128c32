import { describe, expect, it } from 'vitest'

import { contactSheet } from './contact-sheet.js'
import { HmarImage } from './image.js'

/** A grey picture of 4×2 pixels. */
const grey = (level: number) => new HmarImage({ data: new Uint8Array(24).fill(level), width: 4, height: 2 })

const at = ({ data, width }: HmarImage, x: number, y: number) => data[(y * width + x) * 3]

describe('contactSheet', () => {
  it('lays pictures out row by row with white around them', () => {
    const sheet = contactSheet([grey(10), grey(20), grey(30)], { columns: 2, gap: 1 })
    expect([sheet.width, sheet.height]).toEqual([11, 7])
    expect([at(sheet, 1, 1), at(sheet, 6, 1), at(sheet, 1, 4)]).toEqual([10, 20, 30])
    expect([at(sheet, 0, 0), at(sheet, 5, 1), at(sheet, 1, 3), at(sheet, 6, 4)]).toEqual([255, 255, 255, 255])
  })

  it('puts ten pictures in two rows of five', () => {
    const sheet = contactSheet(Array(10).fill(grey(0)), { gap: 0 })
    expect([sheet.width, sheet.height]).toEqual([20, 4])
  })

  it('refuses none, and sizes that differ', () => {
    expect(() => contactSheet([])).toThrow('at least one')
    const tall = new HmarImage({ data: new Uint8Array(24), width: 2, height: 4 })
    expect(() => contactSheet([grey(0), tall])).toThrow(expect.objectContaining({ found: '4×2 and 2×4' }))
  })
})
