import { expect, it } from 'vitest'

import { drawBars, niceTicks } from './charts.js'

it('chooses round ticks', () => {
  expect(niceTicks(8.4)).toEqual([0, 2, 4, 6, 8])
  expect(niceTicks(100)).toEqual([0, 20, 40, 60, 80, 100])
  expect(niceTicks(2.2)).toEqual([0, 0.5, 1, 1.5, 2])
  expect(niceTicks(0)).toEqual([0])
})

it('draws bars in proportion, with what they are called', () => {
  const svg = drawBars({
    title: 'Time',
    format: (value) => `${value} ms`,
    bars: [
      {
        label: 'A & B',
        segments: [
          { name: 'passes', value: 60, color: 0 },
          { name: 'decode', value: 40, color: 'rest' },
        ],
        note: '100 ms',
      },
      {
        label: 'C',
        segments: [{ name: 'passes', value: 50, color: 0 }],
        note: '50 ms',
        range: [45, 60],
        mark: 20,
      },
    ],
  })
  const widths = [...svg.matchAll(/<rect [^>]*width="([\d.]+)"/g)].map(([, width]) => Number(width))
  expect(widths).toEqual([279, 186, 232.5])
  expect(svg).toContain('A &amp; B')
  expect(svg).toContain('decode: 40 ms')
  expect(svg).toContain('45 ms to 60 ms')
})
