// Loads, generates, decodes and closes without end, telling each stage as it begins.
import { HmarSampler } from '@hmar/sampler'

export async function repeatAllStages(tell) {
  for (;;) {
    tell('load')
    const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu', threads: 1 })
    tell('generate')
    const { tokens } = await sampler.generate({ labels: [0, 1] })
    tell('decode')
    await sampler.tokenizer.decode(tokens[0])
    tell('close')
    await sampler.close()
  }
}
