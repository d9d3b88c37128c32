import { inspectCheckpoint } from '@hmar/native'
import { HmarSampler } from '@hmar/sampler'

import type { Context } from './context.js'
import { type ModelOptions, runtimeOptions } from './options.js'

/** Loads a model and its tokenizer, and says under which licence the model is, where its file tells. */
export async function loadSampler(options: ModelOptions, { output, signal }: Context): Promise<HmarSampler> {
  const { model, tokenizer, mode } = options
  const sampler = await output.withProgress('loading', ({ bytes }) =>
    HmarSampler.load({ ...runtimeOptions(options), model, tokenizer, mode, signal, onProgress: bytes }),
  )
  for (const path of sampler.model.paths) {
    const { license } = await inspectCheckpoint(path, { mode, signal })
    if (license !== undefined) output.note(`Licence of ${path}: ${license}`)
  }
  return sampler
}
