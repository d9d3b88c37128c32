// For a worker thread, from what was built: works until it is terminated, or exits by itself when it is told.
import { parentPort } from 'node:worker_threads'
import { repeatAllStages } from './all-stages.mjs'

parentPort.on('message', () => process.exit(0))
await repeatAllStages((stage) => parentPort.postMessage(stage))
