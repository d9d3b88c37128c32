import { expect, it } from 'vitest'

import { HmarImage } from './image.js'
import { terminalPreview } from './terminal-preview.js'

/** Greys, row by row. */
const picture = (width: number, levels: readonly number[]) =>
  new HmarImage({
    data: Uint8Array.from(levels.flatMap((level) => [level, level, level])),
    width,
    height: levels.length / width,
  })

it('puts two rows in a line: the upper in the foreground, the lower behind it', () => {
  expect(terminalPreview(picture(1, [10, 20]), 80)).toBe(
    '\u001B[38;2;10;10;10m\u001B[48;2;20;20;20m▀\u001B[0m',
  )
})

it('leaves the background alone below an odd last row', () => {
  expect(terminalPreview(picture(1, [10]), 80)).toBe('\u001B[38;2;10;10;10m▀\u001B[0m')
})

it('averages what is wider than the terminal', () => {
  const preview = terminalPreview(picture(4, [0, 10, 50, 50, 20, 30, 50, 50]), 2)
  expect(preview).toBe('\u001B[38;2;15;15;15m▀\u001B[38;2;50;50;50m▀\u001B[0m')
})
