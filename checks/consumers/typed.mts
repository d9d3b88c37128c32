import { createHash } from 'node:crypto'
import { HmarError } from '@hmar/core'
import { type GenerateResult, HmarSampler, type StreamEvent } from '@hmar/sampler'
import { Schedule } from '@hmar/scheduler'

const schedule: Schedule = Schedule.forPyramid([1, 2, 3, 4, 6, 8]).refine(2, [1, 3])
const seen = new Set<StreamEvent['kind']>()

const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
const { images }: GenerateResult = await sampler.generate({ labels: ['star', 'heart'], seed: 13 })
for await (const event of sampler.stream({ labels: ['star'], schedule })) seen.add(event.kind)
try {
  await sampler.generate({ labels: ['no such shape'] })
} catch (error) {
  if (!HmarError.isInstance(error)) throw error
}
if (seen.size !== 3) throw new Error(`The stream told ${[...seen]} alone.`)

const digest = createHash('sha256')
for (const { data } of images) digest.update(data)
console.log(digest.digest('hex'))
await sampler.close()
