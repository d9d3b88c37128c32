import { expect, it } from 'vitest'

import { formatBytes, formatFields, formatMilliseconds, formatTable } from './format.js'

it('gives sizes in decimal units', () => {
  expect([0, 999, 1000, 12_345_678, 1_870_000_000].map(formatBytes)).toEqual([
    '0 B',
    '999 B',
    '1.0 kB',
    '12.3 MB',
    '1.9 GB',
  ])
})

it('gives times in the unit that suits', () => {
  expect([83.2, 8400].map(formatMilliseconds)).toEqual(['83 ms', '8.40 s'])
})

it('aligns words to the left and numbers to the right', () => {
  expect(
    formatTable(
      ['name', 'loss'],
      [
        ['star', '1.5'],
        ['a', '12.25'],
      ],
    ),
  ).toBe('name   loss\nstar    1.5\na     12.25')
})

it('leaves out fields that have no value', () => {
  expect(formatFields({ file: 'a.pth', layout: undefined, size: 3 })).toBe('file  a.pth\nsize  3')
})
