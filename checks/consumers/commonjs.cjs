const { createHash } = require('node:crypto')
const { HmarSampler } = require('@hmar/sampler')

async function main() {
  const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
  const { images } = await sampler.generate({ labels: ['star', 'heart'], seed: 13 })
  const digest = createHash('sha256')
  for (const { data } of images) digest.update(data)
  console.log(digest.digest('hex'))
  await sampler.close()
}

main()
