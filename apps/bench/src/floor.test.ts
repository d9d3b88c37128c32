import type { ModelConfig, TokenizerConfig } from '@hmar/core'
import { PYRAMIDS } from '@hmar/core'
import { Schedule } from '@hmar/scheduler'
import { expect, it } from 'vitest'

import { floorOf, peakOf } from './floor.js'

const tokenizer: TokenizerConfig = {
  channels: 160,
  channelMultipliers: [1, 1, 2, 2, 4],
  residualBlocks: 2,
  codebookSize: 4096,
  codeDimension: 32,
  phiCount: 4,
  downsample: 16,
}
const released = (depth: number, pyramid: number[]): ModelConfig => ({
  layout: 'combined',
  depth,
  branchDepth: 8,
  width: 64 * depth,
  heads: depth,
  mlpRatio: 4,
  queryKeyNorm: true,
  sharedAdaLN: false,
  classes: 1000,
  codebookSize: 4096,
  codeDimension: 32,
  pyramid,
})

// The project's own estimates, by which its goals were set.
it.each([
  [16, 256, 1, 2.2],
  [30, 256, 1, 11.3],
  [16, 256, 64, 79],
  [30, 256, 64, 337],
  [24, 512, 1, 13.6],
  [24, 512, 8, 85],
] as const)('is what was estimated for d%i at %i pixels, batch %i', (depth, resolution, images, expected) => {
  const model = released(depth, [...PYRAMIDS[resolution]])
  const cost = Schedule.default(model).cost(model, { images, dtype: 'bf16', tokenizer })
  const floor = floorOf(cost, model, peakOf('NVIDIA H200')!)
  expect(floor.total / expected).toBeGreaterThan(0.85)
  expect(floor.total / expected).toBeLessThan(1.15)
  expect(floor.passes).toHaveLength(14 + (resolution === 512 ? 1 : 0))
})

it('is unknown for a GPU that was not measured', () => {
  expect(peakOf('NVIDIA GeForce RTX 4090')).toBeUndefined()
})
