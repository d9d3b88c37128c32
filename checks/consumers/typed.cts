import { createHash } from 'node:crypto'
import { type GenerateResult, HmarSampler } from '@hmar/sampler'

async function main(): Promise<void> {
  const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
  const { images }: GenerateResult = await sampler.generate({ labels: ['star', 'heart'], seed: 13 })
  const digest = createHash('sha256')
  for (const { data } of images) digest.update(data)
  console.log(digest.digest('hex'))
  await sampler.close()
}

main()
