import { type ModelConfig, PYRAMIDS, type TokenizerConfig } from '@hmar/core'

/** HMAR-d16 for 256 pixels. */
export const d16: ModelConfig = {
  layout: 'combined',
  depth: 16,
  branchDepth: 8,
  width: 1024,
  heads: 16,
  mlpRatio: 4,
  queryKeyNorm: true,
  sharedAdaLN: false,
  classes: 1000,
  codebookSize: 4096,
  codeDimension: 32,
  pyramid: [...PYRAMIDS[256]],
}

/** VAR-d16 for 256 pixels. */
export const varD16: ModelConfig = { ...d16, layout: 'var', branchDepth: 0 }

/** The embedded model, with the way its configuration says to sample it. */
export const shapes: ModelConfig = {
  ...d16,
  depth: 6,
  branchDepth: 2,
  width: 192,
  heads: 3,
  classes: 10,
  codebookSize: 1024,
  codeDimension: 16,
  pyramid: [1, 2, 3, 4, 6, 8],
  sampling: { guidance: 1.5, topK: 300, topP: 0.95, schedule: [[1], [1, 3], [2, 3, 4], [16], [36], [64]] },
}

/** The released tokenizer. */
export const tokenizer: TokenizerConfig = {
  channels: 160,
  channelMultipliers: [1, 1, 2, 2, 4],
  residualBlocks: 2,
  codebookSize: 4096,
  codeDimension: 32,
  phiCount: 4,
  downsample: 16,
}
