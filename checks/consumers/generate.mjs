// Prints the digest of the pixels that every other program here has to arrive at.
import { createHash } from 'node:crypto'
import { HmarSampler } from '@hmar/sampler'

const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
const { images } = await sampler.generate({ labels: ['star', 'heart'], seed: 13 })
const digest = createHash('sha256')
for (const { data } of images) digest.update(data)
console.log(digest.digest('hex'))
await sampler.close()
