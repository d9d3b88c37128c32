// Pictures made in a thread of their own, so that a server's event loop stays free.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

const worker = new Worker(new URL('draw-in-thread.mjs', import.meta.url), { execArgv: [] })
worker.postMessage({ labels: ['plus'], seed: 6 })
const [png] = (await once(worker, 'message')) as [Uint8Array]
console.log(`${png.length} bytes of PNG`)
