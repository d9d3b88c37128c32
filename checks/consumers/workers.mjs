// Two threads at a time; both have to arrive at the same pixels.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { HmarSampler } from '@hmar/sampler'

if (isMainThread) {
  const workers = [1, 2].map(() => new Worker(new URL(import.meta.url)))
  const digests = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]))
  console.log([...new Set(digests)].join('\n'))
} else {
  const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu', threads: 1 })
  const { images } = await sampler.generate({ labels: ['star', 'heart'], seed: 13 })
  const digest = createHash('sha256')
  for (const { data } of images) digest.update(data)
  await sampler.close()
  parentPort.postMessage(digest.digest('hex'))
}
