// Pictures made in a thread of their own, so that a server's event loop stays free.
import { once } from 'node:events'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { HmarSampler } from '@hmar/sampler'

if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url))
  const [png] = (await once(worker, 'message')) as [Uint8Array]
  console.log(`${png.length} bytes of PNG`)
} else {
  await using sampler = await HmarSampler.load({ model: 'shapes' })
  const { images } = await sampler.generate({ labels: ['plus'], seed: 6 })
  parentPort?.postMessage(await images[0]!.toBuffer('png'))
}
