import type { HmarImage } from './image.js'

/**
 * A picture for terminals of 24-bit colour: two pixels a character, by half blocks. Larger pictures are averaged down.
 *
 * @param columns - the most characters in a line
 * @returns lines that each end with the terminal's own colours restored
 */
export function terminalPreview(image: HmarImage, columns: number): string {
  const factor = Math.max(1, Math.ceil(image.width / columns))
  const width = Math.floor(image.width / factor)
  const height = Math.floor(image.height / factor)
  const lines = []
  for (let y = 0; y < height; y += 2) {
    let line = ''
    for (let x = 0; x < width; x++) {
      line += `\u001B[38;2;${meanColor(image, x, y, factor)}m`
      // An odd last row has the terminal's own background below it.
      if (y + 1 < height) line += `\u001B[48;2;${meanColor(image, x, y + 1, factor)}m`
      line += '▀'
    }
    lines.push(`${line}\u001B[0m`)
  }
  return lines.join('\n')
}

/** The mean of a square of `factor` pixels, as `red;green;blue`. */
function meanColor({ data, width }: HmarImage, x: number, y: number, factor: number): string {
  const sums = [0, 0, 0]
  for (let row = y * factor; row < (y + 1) * factor; row++)
    for (let column = x * factor; column < (x + 1) * factor; column++)
      for (let channel = 0; channel < 3; channel++)
        sums[channel]! += data[(row * width + column) * 3 + channel]!
  return sums.map((sum) => Math.round(sum / factor ** 2)).join(';')
}
