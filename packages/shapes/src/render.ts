import { type Hsv, hsvToRgb } from './color.js'
import { distances } from './distance.js'
import type { ShapeLabel } from './labels.js'

/** One picture, said in numbers. Coordinates run from −1 to 1 over the picture, y downwards. */
export interface Shape {
  readonly label: ShapeLabel
  /** Where the shape's centre lies. Training drew both from [−0.3, 0.3]. */
  readonly center: readonly [x: number, y: number]
  /** Its half extent. Training drew it from [0.38, 0.62]. */
  readonly size: number
  /** Its rotation in radians, clockwise. Training drew it from [−0.3, 0.3]. */
  readonly angle: number
  readonly foreground: Hsv
  readonly background: Hsv
  /** How much brighter the background gets from its middle row to the bottom, as a factor. Training: [−0.25, 0.25]. */
  readonly gradient: number
}

/** Interleaved 8-bit RGB, row-major. */
export interface ShapePicture {
  readonly data: Uint8Array
  readonly width: number
  readonly height: number
}

const clamp = (x: number) => Math.min(Math.max(x, 0), 1)

/**
 * Draws a shape, anti-aliased by its distance to each pixel's centre.
 *
 * @param side - width and height in pixels. Defaults to 64, what the embedded model makes.
 */
export function renderShape(shape: Shape, side = 64): ShapePicture {
  const { center, size, gradient } = shape
  const distance = distances[shape.label]
  const foreground = hsvToRgb(shape.foreground)
  const background = hsvToRgb(shape.background)
  const cos = Math.cos(shape.angle)
  const sin = Math.sin(shape.angle)
  const data = new Uint8Array(side * side * 3)
  for (let row = 0, at = 0; row < side; row++) {
    const y = ((row + 0.5) / side) * 2 - 1
    for (let column = 0; column < side; column++) {
      const x = ((column + 0.5) / side) * 2 - 1
      const dx = (x - center[0]) / size
      const dy = (y - center[1]) / size
      const pixels = size * distance(cos * dx + sin * dy, cos * dy - sin * dx) * (side / 2)
      const coverage = clamp(0.5 - pixels)
      for (let channel = 0; channel < 3; channel++) {
        const behind = background[channel]! * (1 + gradient * y)
        const color = clamp(behind * (1 - coverage) + foreground[channel]! * coverage)
        data[at++] = Math.floor(255 * color + 0.5)
      }
    }
  }
  return { data, width: side, height: side }
}
