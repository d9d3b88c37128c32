// For a process of its own, from what was built: prints a digest of the pictures that its argument asks for.
import { createHash } from 'node:crypto'
import { HmarSampler } from '@hmar/sampler'

const { threads, ...options } = JSON.parse(process.argv[2])
const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu', threads })
const { images } = await sampler.generate(options)
const digest = createHash('sha256')
for (const { data } of images) digest.update(data)
console.log(digest.digest('hex'))
await sampler.close()
