// For a worker thread, from what was built: sends the tokens of what it is asked for.
import { parentPort, workerData } from 'node:worker_threads'
import { HmarSampler } from '@hmar/sampler'

const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu', threads: 1 })
const { tokens } = await sampler.generate(workerData)
parentPort.postMessage(tokens)
await sampler.close()
