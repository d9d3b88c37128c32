import { expect, it } from 'vitest'

import { pairUp } from './comparison.js'
import { renderComparison } from './report.js'

it('draws both, with ratios, and marks the floor', () => {
  const found = (layout: 'hmar' | 'var', time: number) => ({
    layout,
    depth: 24,
    resolution: 1024,
    batch: 4,
    milliseconds: [time],
    passMilliseconds: [time - 10],
    decodeMilliseconds: [10],
    floor: 50,
    weightBytes: 1e9,
    passBytes: time * 1e6,
    decodeBytes: 1e6,
  })
  const page = renderComparison({
    date: '2026-01-01',
    command: 'npm run bench -- compare',
    commit: 'abc',
    device: 'a <GPU>',
    software: 'driver 1.2',
    pairs: pairUp([found('hmar', 100), found('var', 125)]),
  })
  expect(page).toContain('HMAR beside VAR on a &lt;GPU&gt;')
  expect(page).toContain('125 ms, 1.25×')
  expect(page).toContain('<td>2.00×</td>')
  expect(page.match(/class="mark"/g)).toHaveLength(2)
})
