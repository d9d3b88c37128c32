import { HmarSampler } from '@hmar/sampler'

import type { Context } from './context.js'
import { type ModelOptions, runtimeOptions } from './options.js'

export function loadSampler(options: ModelOptions, { output, signal }: Context): Promise<HmarSampler> {
  const { model, tokenizer } = options
  return output.withProgress('loading', ({ bytes }) =>
    HmarSampler.load({ ...runtimeOptions(options), model, tokenizer, signal, onProgress: bytes }),
  )
}
