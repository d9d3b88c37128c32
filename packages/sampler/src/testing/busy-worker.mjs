// For a worker thread, from what was built: generates until it is terminated.
import { parentPort } from 'node:worker_threads'
import { HmarSampler } from '@hmar/sampler'

const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu', threads: 1 })
const onProgress = ({ kind }) => parentPort.postMessage(kind)
for (;;) await sampler.generate({ labels: Array(8).fill(0), onProgress })
