/** A colour by hue (a turn is 1; wraps around), saturation and value in [0, 1]. */
export interface Hsv {
  readonly hue: number
  readonly saturation: number
  readonly value: number
}

/** Red, green and blue in [0, 1]. */
export function hsvToRgb({ hue, saturation, value }: Hsv): [number, number, number] {
  const channel = (offset: number) => {
    const sextant = (((hue * 6 + offset) % 6) + 6) % 6
    return value * (1 - saturation * Math.max(0, Math.min(sextant, 4 - sextant, 1)))
  }
  return [channel(5), channel(3), channel(1)]
}
