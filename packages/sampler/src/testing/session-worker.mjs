// For a worker thread, from what was built: takes a session to its middle, and sends what it can be restored from; then
// streams, and sends the tokens.
import { parentPort, workerData } from 'node:worker_threads'
import { HmarSampler } from '@hmar/sampler'

const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu', threads: 1 })
const session = await sampler.open(workerData)
for (let pass = 0; pass < 5; pass++) await session.step()
const streamed = []
for await (const event of sampler.stream(workerData)) if (event.kind === 'image') streamed.push(event.tokens)
parentPort.postMessage({ saved: await session.save(), streamed })
await sampler.close()
