import type { ShapeLabel } from './labels.js'

/** A signed distance: negative inside the shape, in units of its size; y points downwards. */
type Distance = (x: number, y: number) => number

const { abs, atan2, cos, hypot, max, min, PI, sign, sin, sqrt } = Math

/** A box of half width `w` and half height `h`. */
const box = (x: number, y: number, w: number, h: number) => max(abs(x) - w, abs(y) - h)

const modulo = (x: number, n: number) => x - n * Math.floor(x / n)

/** The line from the star's tip (1, 0) to its inner corner (i, j), in the wedge α ∈ [0, π/5]. */
const starInner = { i: 0.38 * cos(PI / 5), j: 0.38 * sin(PI / 5) }

function star(px: number, py: number): number {
  const { i, j } = starInner
  const alpha = abs(modulo(atan2(px, -py) + PI / 5, (2 * PI) / 5) - PI / 5)
  const r = hypot(px, py)
  const x = r * cos(alpha)
  const y = r * sin(alpha)
  return ((x - 1) * j + y * (1 - i)) / hypot(j, 1 - i)
}

function heart(px: number, py: number): number {
  const x = abs(px) / 1.5
  const y = (0.85 - py) / 1.5
  if (x + y > 1) return 1.5 * (hypot(x - 0.25, y - 0.75) - sqrt(2) / 4)
  const t = max(x + y, 0) / 2
  return 1.5 * sign(x - y) * min(hypot(x, y - 1), hypot(x - t, y - t))
}

/** Each class's signed distance in its own frame, where it spans about (−1, 1). */
export const distances: Readonly<Record<ShapeLabel, Distance>> = {
  disk: (x, y) => hypot(x, y) - 0.9,
  square: (x, y) => box(x, y, 0.78, 0.78),
  triangle: (x, y) => max(y - 0.6, 0.866 * abs(x) - 0.5 * y - 0.55),
  star,
  ring: (x, y) => abs(hypot(x, y) - 0.68) - 0.22,
  plus: (x, y) => min(box(x, y, 0.28, 0.9), box(x, y, 0.9, 0.28)),
  heart,
  crescent: (x, y) => max(hypot(x, y) - 0.9, 0.72 - hypot(x - 0.4, y)),
  diamond: (x, y) => 0.8 * (abs(x) + 0.7 * abs(y) - 0.85),
  bars: (x, y) => max(box(x, y, 0.85, 0.85), abs(modulo(y + 0.85, 0.68) - 0.19) - 0.19),
}
