import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import files from '@fastify/static'
import { type Arithmetic, type Device, HmarSampler } from '@hmar/sampler'
import { closeOnSignals, hmarServer } from '@hmar/server'
import Fastify from 'fastify'

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '8080' },
    // 'shapes', or name=path; may be repeated.
    model: { type: 'string', multiple: true, default: ['shapes'] },
    tokenizer: { type: 'string' },
    device: { type: 'string', default: 'auto' },
    dtype: { type: 'string', default: 'f32' },
  },
})

const models: Record<string, HmarSampler> = {}
for (const text of values.model) {
  const [name, ...rest] = text.split('=') as [string, ...string[]]
  const path = rest.length === 0 ? name : rest.join('=')
  models[name] = await HmarSampler.load({
    model: path,
    tokenizer: path === 'shapes' ? undefined : values.tokenizer,
    device: values.device as Device,
    dtype: values.dtype as Arithmetic,
  })
}

const app = Fastify()
await app.register(hmarServer, { models, onEngineLost: () => void close(1) })
await app.register(files, { root: fileURLToPath(new URL('page', import.meta.url)) })
app.addHook('onClose', () => Promise.all(Object.values(models).map((model) => model.close())))
const close = closeOnSignals(app)
console.log(`The demo is at ${await app.listen({ host: values.host, port: Number(values.port) })}`)
