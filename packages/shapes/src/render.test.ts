import { readFileSync } from 'node:fs'

import { describe, expect, it } from 'vitest'

import { labels, renderShape, type Shape, type ShapeLabel, sampleShape, seededRandom } from './index.js'
import { readSafetensors } from './safetensors.js'
import { loadClassifier } from './testing/classifier.js'

const white = { hue: 0, saturation: 0, value: 1 }
const black = { hue: 0, saturation: 0, value: 0 }

/** A white shape upright in the middle of black. */
const upright = (label: ShapeLabel, change: Partial<Shape> = {}): Shape => ({
  label,
  center: [0, 0],
  size: 0.5,
  angle: 0,
  foreground: white,
  background: black,
  gradient: 0,
  ...change,
})

/** Grey levels of a black-and-white picture, by row and column. */
function levels(shape: Shape, side = 64): number[][] {
  const { data } = renderShape(shape, side)
  return Array.from({ length: side }, (_, y) =>
    Array.from({ length: side }, (_, x) => data[(y * side + x) * 3]!),
  )
}

/** The share of the picture that the shape covers. */
const coverage = (shape: Shape, side?: number) => {
  const flat = levels(shape, side).flat()
  return flat.reduce((sum, level) => sum + level, 0) / (255 * flat.length)
}

const mirrored = (rows: number[][]) => rows.map((row) => row.toReversed())

describe('sampled pictures', () => {
  it('are recognised by the classifier', () => {
    const classify = loadClassifier()
    const random = seededRandom(2024)
    let recognised = 0
    for (let i = 0; i < 200; i++)
      if (classify(renderShape(sampleShape(random, labels[i % 10]!))) === i % 10) recognised++
    expect(recognised).toBeGreaterThanOrEqual(198)
  })

  it('depend on the seed alone', () => {
    const draw = (seed: number | bigint) => renderShape(sampleShape(seed, 'heart')).data
    expect(draw(7)).toEqual(draw(7n))
    expect(draw(7)).not.toEqual(draw(8))
  })

  it('go on drawing from a given stream', () => {
    const random = seededRandom(7)
    const first = sampleShape(random, 'heart')
    expect(first).toEqual(sampleShape(7, 'heart'))
    expect(sampleShape(random, 'heart')).not.toEqual(first)
  })

  it('stay within the ranges of training', () => {
    const random = seededRandom(1)
    for (let i = 0; i < 500; i++) {
      const { center, size, angle, foreground, background } = sampleShape(random, 'disk')
      expect(Math.max(...center.map(Math.abs))).toBeLessThanOrEqual(0.3)
      expect(Math.abs(size - 0.5)).toBeLessThanOrEqual(0.12)
      expect(Math.abs(angle)).toBeLessThanOrEqual(0.3)
      expect(foreground.saturation).toBeGreaterThanOrEqual(0.65)
      expect(Math.abs(background.value - 0.55)).toBeGreaterThanOrEqual(0.15)
    }
  })
})

describe('renderShape', () => {
  it("draws the goldens' pictures", () => {
    // Their parameters were not recorded; these were fitted to the pictures by least squares.
    const shapes: Shape[] = JSON.parse(
      readFileSync(new URL('../fixtures/tiny-a-shapes.json', import.meta.url), 'utf8'),
    )
    const golden = readSafetensors(new URL('../../../fixtures/golden/tiny-a.safetensors', import.meta.url))
    const { data: images } = golden.floats('images')
    shapes.forEach((shape, picture) => {
      const { data } = renderShape(shape)
      const differences = data.map((byte, i) => {
        const at = picture * data.length + (i % 3) * 4096 + Math.floor(i / 3)
        return Math.abs(byte - Math.round((images[at]! + 1) * 127.5))
      })
      expect(Math.max(...differences)).toBeLessThanOrEqual(1)
    })
  })

  it.each(labels.filter((label) => label !== 'crescent'))(
    'draws a %s that is its own mirror image',
    (label) => {
      const rows = levels(upright(label))
      expect(mirrored(rows)).toEqual(rows)
    },
  )

  it('draws a crescent that is open to the right and its own image upside down', () => {
    const rows = levels(upright('crescent'))
    expect(rows.toReversed()).toEqual(rows)
    expect(rows[32]![20]).toBe(255)
    expect(rows[32]![40]).toBe(0)
  })

  it('covers the area that the formulas enclose', () => {
    const quarter = 0.25 / 4 // the unit shape's area, times size² over the picture's area
    expect(coverage(upright('disk'))).toBeCloseTo(quarter * Math.PI * 0.9 ** 2, 2)
    expect(coverage(upright('square'))).toBeCloseTo(quarter * 1.56 ** 2, 2)
    expect(coverage(upright('ring'))).toBeCloseTo(quarter * Math.PI * (0.9 ** 2 - 0.46 ** 2), 2)
    expect(coverage(upright('plus'))).toBeCloseTo(quarter * (2 * 1.8 * 0.56 - 0.56 ** 2), 2)
  })

  it('covers the same share at every resolution and angle', () => {
    for (const label of labels) {
      const share = coverage(upright(label))
      expect(coverage(upright(label), 256)).toBeCloseTo(share, 2)
      expect(coverage(upright(label, { angle: 0.3 }))).toBeCloseTo(share, 2)
    }
  })

  it('points the star and the heart the right way up', () => {
    const inked = (label: ShapeLabel) => levels(upright(label)).filter((row) => Math.max(...row) > 127)
    const width = (row: number[]) => row.filter((level) => level > 127).length
    const star = inked('star')
    expect(star[0]![31]).toBeGreaterThan(127)
    expect(star.at(-1)![31]).toBe(0)
    const heart = inked('heart')
    expect(width(heart[0]!)).toBeGreaterThan(width(heart.at(-1)!))
    expect(heart.at(-1)![31]).toBeGreaterThan(127)
  })

  it('moves with its centre and grows with its size', () => {
    const moved = levels(upright('disk', { center: [0.25, 0] }))
    expect(moved[32]!.slice(8)).toEqual(levels(upright('disk'))[32]!.slice(0, 56))
    expect(coverage(upright('disk', { size: 0.25 }))).toBeCloseTo(coverage(upright('disk')) / 4, 2)
  })

  it('brightens the background downwards', () => {
    const background = { hue: 0.5, saturation: 0, value: 0.5 }
    const rows = levels(upright('disk', { background, gradient: 0.2 }))
    expect(rows[0]![0]).toBe(Math.round(255 * 0.5 * (1 - 0.2 * (63 / 64))))
    expect(rows[63]![0]).toBe(Math.round(255 * 0.5 * (1 + 0.2 * (63 / 64))))
  })

  it('colours by hue', () => {
    const middle = (hue: number) => {
      const { data } = renderShape(upright('disk', { foreground: { hue, saturation: 1, value: 1 } }))
      return [...data.subarray((32 * 64 + 32) * 3, (32 * 64 + 32) * 3 + 3)]
    }
    expect(middle(0)).toEqual([255, 0, 0])
    expect(middle(1 / 3)).toEqual([0, 255, 0])
    expect(middle(5 / 3)).toEqual([0, 0, 255])
    expect(middle(1 / 12)).toEqual([255, 128, 0])
  })
})
