import type { ShapeLabel } from './labels.js'
import { type RandomStream, seededRandom } from './random.js'
import type { Shape } from './render.js'

/**
 * Draws a shape as the embedded model's training set did.
 *
 * @param source - a seed, or a stream to go on drawing from
 */
export function sampleShape(source: number | bigint | RandomStream, label: ShapeLabel): Shape {
  const random = typeof source === 'function' ? source : seededRandom(source)
  const within = (low: number, high: number) => low + (high - low) * random()
  const hue = random()
  return {
    label,
    center: [within(-0.3, 0.3), within(-0.3, 0.3)],
    size: within(0.38, 0.62),
    angle: within(-0.3, 0.3),
    foreground: { hue, saturation: within(0.65, 1), value: within(0.75, 1) },
    background: {
      hue: hue + within(0.25, 0.75),
      saturation: within(0.25, 0.7),
      value: random() < 0.5 ? within(0.15, 0.4) : within(0.7, 0.95),
    },
    gradient: within(-0.25, 0.25),
  }
}
