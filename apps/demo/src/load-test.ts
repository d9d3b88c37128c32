import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { cpus, loadavg } from 'node:os'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

// Many clients that ask for a picture, wait for it and ask again, each from a loopback address of its own; whether each
// got what it asked for, and how long it took. It starts the demo itself, and ends by itself.
const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '50' },
    seconds: { type: 'string', default: '60' },
    out: { type: 'string' },
  },
})
const clients = Math.min(Number(values.clients), 50)
const seconds = Math.min(Number(values.seconds), 60)

interface Answer {
  readonly status: number
  readonly retryAfter: number
  readonly body: string
}

const loadBefore = loadavg()[0]
const demo = fileURLToPath(new URL('main.js', import.meta.url))
const child = spawn(process.execPath, [demo, '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] })
const exited = new Promise<number | null>((resolve) => {
  child.once('exit', resolve)
})
const address = await addressOf()
const end = performance.now() + seconds * 1000
const latencies: number[] = []
const images = new Set<string>()
const count = { asked: 0, answered: 0, refused: 0, failed: 0 }

await Promise.all(Array.from({ length: clients }, (_, index) => beClient(index)))
const metrics = (await ask(new Agent(), 'GET', '/metrics')).body
child.kill('SIGTERM')
const exitCode = await exited

latencies.sort((a, b) => a - b)
const percentile = (share: number) => Math.round(latencies[Math.ceil(share * latencies.length) - 1] ?? 0)
const batches = metricOf('hmar_batch_images_count')
const result = {
  command: `npm run load-test -- --clients ${clients} --seconds ${seconds}`,
  date: new Date().toISOString().slice(0, 10),
  device: `${cpus()[0]?.model.trim()}, ${cpus().length} cores, shared with other programs`,
  model: 'shapes',
  loadBefore,
  clients,
  seconds,
  ...count,
  // Each picture has a number of its own: one that was given twice would be missing here.
  differentImages: images.size,
  lost: count.asked - count.answered - count.refused - count.failed + (count.answered - images.size),
  imagesMadeByTheServer: metricOf('hmar_images_total'),
  imagesPerSecond: Number((count.answered / seconds).toFixed(1)),
  imagesPerBatch: Number((metricOf('hmar_batch_images_sum') / batches).toFixed(2)),
  latencyMs: {
    p50: percentile(0.5),
    p90: percentile(0.9),
    p95: percentile(0.95),
    p99: percentile(0.99),
    most: percentile(1),
  },
  exitCode,
}
console.log(JSON.stringify(result, null, 2))
if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify(result, null, 2)}\n`)
process.exitCode = result.lost === 0 && count.failed === 0 && exitCode === 0 ? 0 : 1

async function addressOf(): Promise<URL> {
  for await (const line of createInterface({ input: child.stdout })) {
    const [found] = /http:\/\/\S+/.exec(line) ?? []
    if (found) return new URL(found)
  }
  throw new Error('The demo ended before it listened.')
}

async function beClient(index: number): Promise<void> {
  const agent = new Agent({ keepAlive: true, localAddress: `127.0.0.${index + 2}` })
  while (performance.now() < end) {
    count.asked++
    const started = performance.now()
    const label = (index + count.asked) % 10
    const answer = await ask(agent, 'POST', '/api/models/shapes/generate', {
      labels: [label],
      previews: false,
    })
    if (answer.status === 429) {
      count.refused++
      await setTimeout(answer.retryAfter * 1000)
    } else note(answer, label, performance.now() - started)
  }
  agent.destroy()
}

function note({ status, body }: Answer, label: number, milliseconds: number): void {
  const recipe = status === 200 ? JSON.parse(body).images[0]?.recipe : undefined
  if (recipe?.label !== label) {
    count.failed++
    return
  }
  count.answered++
  latencies.push(milliseconds)
  images.add(`${recipe.seed} ${recipe.image}`)
}

function ask(agent: Agent, method: string, path: string, body?: object): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', accept: 'application/json' }
    const { hostname, port } = address
    const sent = request({ hostname, port, path, method, agent, headers }, async (response) => {
      const retryAfter = Number(response.headers['retry-after'] ?? 1)
      resolve({ status: response.statusCode ?? 0, retryAfter, body: await text(response) })
    })
    sent.on('error', reject)
    sent.end(body && JSON.stringify(body))
  })
}

function metricOf(name: string): number {
  return Number(new RegExp(`^${name}\\{[^}]*\\} (\\S+)$`, 'm').exec(metrics)?.[1] ?? 0)
}
