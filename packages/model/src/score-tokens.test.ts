import { expect, it } from 'vitest'

import { scoreTokens } from './score-tokens.js'

const tokens = { scales: [Int32Array.of(1), Int32Array.of(0, 1, 2, 0)] }

it('takes the cross-entropy and the share of right guesses, scale by scale', () => {
  const half = Math.log(0.5)
  const quarter = Math.log(0.25)
  const rows = [
    [quarter, half, quarter],
    [half, quarter, quarter],
    [half, quarter, quarter],
    [quarter, quarter, half],
    [quarter, half, quarter],
  ]
  const [first, second] = scoreTokens(Float32Array.from(rows.flat()), tokens)
  expect(first).toEqual({ side: 1, loss: expect.closeTo(Math.LN2), accuracy: 1 })
  expect(second).toEqual({ side: 2, loss: expect.closeTo(1.5 * Math.LN2), accuracy: 0.5 })
})

it('does not mind logits too large for an exponential', () => {
  const rows = Array(5).fill([1000, 1000, 0]).flat()
  const [first, second] = scoreTokens(Float32Array.from(rows), tokens)
  expect(first?.loss).toBeCloseTo(Math.LN2)
  expect(second?.loss).toBeCloseTo(Math.LN2 + 250, 3)
})
