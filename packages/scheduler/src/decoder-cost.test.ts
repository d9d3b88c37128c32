import { expect, it } from 'vitest'
import { decoderCost } from './decoder-cost.js'

it('a small decoder costs what it costs by hand', () => {
  const config = {
    channels: 1,
    channelMultipliers: [1, 2],
    residualBlocks: 1,
    codebookSize: 8,
    codeDimension: 1,
    phiCount: 1,
    downsample: 2,
  }
  const residual = 2 * 9 * 2 * 2
  const attention = 2 * 6 + 2 * 2
  // On the grid of 2 × 2: the two convolutions before, the middle, two residual blocks with attention.
  const coarse = 9 + 9 * 2 + (residual + attention + residual) + 2 * (residual + attention)
  // On 4 × 4 pixels: after upsampling, 2 → 1 channels with its shortcut, 1 → 1, and three colours.
  const fine = 9 * 2 * 2 + (9 * 2 + 9 + 2) + 2 * 9 + 9 * 3
  // Three attentions over 4 pixels of 2 channels: queries with keys, weights with values.
  const scores = 3 * (2 * 4 * 4 * 2)
  expect(decoderCost(config, [1, 2], 3, 2)).toEqual({
    flops: 2 * 3 * (4 * coarse + scores + 16 * fine),
    weightBytes: 2 * (coarse + fine),
  })
})
