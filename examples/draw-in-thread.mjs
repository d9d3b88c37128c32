// The thread of worker-threads.ts: it loads the model and draws one picture for a message.
import { once } from 'node:events'
import { parentPort } from 'node:worker_threads'
import { HmarSampler } from '@hmar/sampler'

const sampler = await HmarSampler.load({ model: 'shapes' })
const [request] = await once(parentPort, 'message')
const { images } = await sampler.generate(request)
parentPort.postMessage(await images[0].toBuffer('png'))
await sampler.close()
