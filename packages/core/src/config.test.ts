import { describe, expect, it } from 'vitest'
import { parseModelConfig, parseTokenizerConfig } from './config.js'

const model = {
  layout: 'combined',
  depth: 6,
  branchDepth: 2,
  width: 192,
  heads: 3,
  mlpRatio: 4,
  queryKeyNorm: true,
  sharedAdaLN: false,
  classes: 10,
  codebookSize: 1024,
  codeDimension: 16,
  pyramid: [1, 2, 3, 4, 6, 8],
}
const tokenizer = {
  channels: 32,
  channelMultipliers: [1, 2, 2, 4],
  residualBlocks: 2,
  codebookSize: 1024,
  codeDimension: 16,
  phiCount: 4,
}

describe('configurations', () => {
  it('are read as the engine writes them, absent options as null', () => {
    expect(parseModelConfig(JSON.stringify({ ...model, name: null, labels: ['disk'] }))).toEqual({
      ...model,
      labels: ['disk'],
    })
    expect(parseTokenizerConfig(JSON.stringify({ ...tokenizer, pyramid: null }))).toEqual({
      ...tokenizer,
      downsample: 8,
    })
  })

  it('keep how the model is meant to be sampled', () => {
    const sampling = { guidance: 1.5, topK: 300, topP: 0.95, schedule: [[1], [1, 3]] }
    expect(parseModelConfig(JSON.stringify({ ...model, sampling })).sampling).toEqual(sampling)
  })

  it.each([
    ['{', 'not JSON'],
    [JSON.stringify({ ...model, depth: 0 }), 'depth: '],
    [JSON.stringify({ ...model, layout: 'hmar' }), 'layout: '],
    [JSON.stringify({ ...model, pyramid: [2, 3] }), 'pyramid: scale 1 is a single token, its side is 2'],
    [JSON.stringify({ ...model, pyramid: ['1'] }), 'pyramid.0: '],
  ])('that are not usable are refused: %s', (json, message) => {
    expect(() => parseModelConfig(json)).toThrow(message)
    expect(() => parseModelConfig(json)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  })
})
