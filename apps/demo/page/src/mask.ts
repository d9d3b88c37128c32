/** What of a picture is to be drawn anew: a byte for each pixel, 1 where it is. */
export class Mask {
  readonly data: Uint8Array

  constructor(readonly side: number) {
    this.data = new Uint8Array(side * side)
  }

  /** Whether nothing is painted. */
  get empty(): boolean {
    return !this.data.includes(1)
  }

  /** Paints, or erases, a disk and the way to it from where the brush was. Coordinates are in pixels. */
  stroke(from: Point, to: Point, radius: number, value: 0 | 1): void {
    const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y)))
    for (let step = 0; step <= steps; step++) {
      const share = step / steps
      this.#disk(from.x + share * (to.x - from.x), from.y + share * (to.y - from.y), radius, value)
    }
  }

  fill(value: 0 | 1): void {
    this.data.fill(value)
  }

  invert(): void {
    for (const [at, value] of this.data.entries()) this.data[at] = 1 - value
  }

  /** As a picture, white where something is drawn anew, in base64. */
  toPng(): string {
    const canvas = Object.assign(document.createElement('canvas'), { width: this.side, height: this.side })
    this.paint(canvas.getContext('2d')!, (value) => [255 * value, 255 * value, 255 * value, 255])
    const address = canvas.toDataURL('image/png')
    return address.slice(address.indexOf(',') + 1)
  }

  /** Draws it in colours. */
  paint(context: CanvasRenderingContext2D, colour: (value: number) => readonly number[]): void {
    const image = context.createImageData(this.side, this.side)
    for (const [at, value] of this.data.entries()) image.data.set(colour(value), at * 4)
    context.putImageData(image, 0, 0)
  }

  #disk(x: number, y: number, radius: number, value: 0 | 1): void {
    const within = (at: number) => Math.min(Math.max(at, 0), this.side - 1)
    for (let row = within(Math.floor(y - radius)); row <= within(Math.ceil(y + radius)); row++)
      for (let column = within(Math.floor(x - radius)); column <= within(Math.ceil(x + radius)); column++)
        if (Math.hypot(column + 0.5 - x, row + 0.5 - y) <= radius) this.data[row * this.side + column] = value
  }
}

/** A place in pixels. */
export interface Point {
  readonly x: number
  readonly y: number
}
