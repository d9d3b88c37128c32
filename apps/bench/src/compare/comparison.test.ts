import { expect, it } from 'vitest'

import { type CompareCase, pairUp } from './comparison.js'

const found = (layout: CompareCase['layout'], batch: number, factor: number): CompareCase => ({
  layout,
  depth: 24,
  resolution: 1024,
  batch,
  milliseconds: [10, 12, 11].map((time) => time * factor),
  passMilliseconds: [8, 8, 9].map((time) => time * factor),
  decodeMilliseconds: [2, 3, 3],
  weightBytes: 100,
  passBytes: 40 * factor,
  decodeBytes: 20,
})

it('sets HMAR and VAR of the same size and batch beside one another', () => {
  const pairs = pairUp([found('hmar', 1, 1), found('var', 4, 3), found('var', 1, 2), found('hmar', 4, 1)])
  expect(pairs.map(({ batch, ratios }) => [batch, ratios])).toEqual([
    [1, { time: 2, passTime: 2, memory: 100 / 60, passMemory: 2 }],
    [4, { time: 3, passTime: 3, memory: 140 / 60, passMemory: 3 }],
  ])
  expect(pairs[0]?.hmar.time).toMatchObject({ median: 11, min: 10, max: 12 })
})

it('leaves out what has no counterpart', () => {
  expect(pairUp([found('hmar', 1, 1), found('var', 2, 1)])).toEqual([])
})
