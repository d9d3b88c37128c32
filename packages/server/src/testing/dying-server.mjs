// A server as an app mounts it, whose device dies at the first request.
import { HmarError } from '@hmar/core'
import { HmarSampler } from '@hmar/sampler'
import Fastify from 'fastify'
import { closeOnSignals, hmarServer } from '../../dist/index.js'

const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
// biome-ignore lint/correctness/useYield: it dies before
sampler.stream = async function* () {
  throw new HmarError('DEVICE_UNAVAILABLE', 'The GPU stopped working.')
}
const app = Fastify()
await app.register(hmarServer, { models: { shapes: sampler }, onEngineLost: () => void close(1) })
app.addHook('onClose', () => sampler.close())
const close = closeOnSignals(app)
console.log(await app.listen({ host: '127.0.0.1', port: 0 }))
