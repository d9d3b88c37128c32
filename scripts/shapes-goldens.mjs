// Makes packages/shapes/goldens/goldens.safetensors, which `hmar verify` holds a machine to: what the embedded model
// computes on this CPU in float32. Run after `npm run build`; the tests of @hmar/shapes compare the result with PyTorch's.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { flattenTokens, unflattenTokens } from '../packages/core/dist/index.js'
import { HmarSampler } from '../packages/sampler/dist/index.js'
import { Schedule } from '../packages/scheduler/dist/index.js'
import { root } from './run.mjs'

const usual = [[1], [1, 3], [2, 3, 4], [16], [36], [64]]
const refined = [[1], [1, 3], [2, 3, 4], [6, 5, 5], [12, 12, 12], [16, 16, 16, 16]]
const everyLabel = Array.from({ length: 10 }, (_, label) => label)

// Seeds for which no draw is near another outcome: noise of 2e-4 on the logits changes no token.
const generations = [
  {
    name: 'default',
    labels: everyLabel,
    seed: '34',
    firstImage: 0,
    batchSize: 10,
    schedule: { cfg: 1.5, top_k: 300, top_p: 0.95, mask_schedule: usual },
  },
  {
    name: 'greedy',
    labels: everyLabel,
    seed: '0',
    firstImage: 0,
    batchSize: 3,
    schedule: { cfg: 1.5, top_k: 1, top_p: 0, mask_schedule: usual },
  },
  {
    name: 'refined',
    labels: [3, 3, 8, 8],
    seed: '1099511627787',
    firstImage: 5,
    batchSize: 4,
    schedule: { cfg: 2.5, top_k: 0, top_p: 0.9, mask_schedule: refined },
  },
  {
    name: 'unconditional',
    labels: [null, null, null, null],
    seed: '5',
    firstImage: 0,
    batchSize: 1,
    schedule: { cfg: 1.5, top_k: 300, top_p: 0.95, mask_schedule: usual },
  },
]
// Pictures of the first generation whose encoding has no token near another.
const pictures = [0, 2, 3, 6]
const logits = [
  { picture: 3, label: 3 },
  { picture: 6, label: null },
]
const codes = Array.from({ length: 64 }, (_, index) => index * 16)
const maskedPositions = Array.from({ length: 65 }, (_, index) => index * 2 + 1)
const seedsForLoss = 24

const sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu', dtype: 'f32' })
const { model, tokenizer } = sampler
const { pyramid, codebookSize } = model.config
const generate = ({ name: _, schedule, seed, ...options }) =>
  sampler.generate({
    ...options,
    seed: BigInt(seed),
    schedule: Schedule.parse(JSON.stringify(schedule), model.config),
    trace: true,
  })
const concat = (parts) => {
  const whole = new parts[0].constructor(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
const flat = (tokens) => flattenTokens(tokens, pyramid, codebookSize)
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length

/** The logits of the chosen codes, from a position on. */
const chosen = (all, from) => {
  const positions = all.length / codebookSize
  return Float32Array.from(
    { length: (positions - from) * codes.length },
    (_, i) => all[(from + Math.floor(i / codes.length)) * codebookSize + codes[i % codes.length]],
  )
}

const tensors = new Map()
for (const generation of generations) {
  const { trace } = await generate(generation)
  const rows = trace.map(concat)
  tensors.set(`trace.${generation.name}`, { shape: [rows.length, rows[0].length], data: concat(rows) })
}
const first = await generate(generations[0])
const tokens = first.tokens.map(flat)
tensors.set('tokens', { shape: [tokens.length, tokens[0].length], data: concat(tokens) })

const kept = pictures.map((picture) => first.images[picture])
const encoded = []
for (const picture of kept) encoded.push(flat(await tokenizer.encode(picture)))
tensors.set('pictures', { shape: [kept.length, 64, 64, 3], data: concat(kept.map(({ data }) => data)) })
tensors.set('encoded', { shape: [encoded.length, encoded[0].length], data: concat(encoded) })

const nextScale = []
const masked = []
for (const { picture, label } of logits) {
  const request = { tokens: unflattenTokens(tokens[picture], pyramid), label }
  nextScale.push(chosen(await model.logits({ ...request, pass: 'next-scale' }), 0))
  masked.push(chosen(await model.logits({ ...request, pass: 'masked', maskedPositions }), 1))
}
for (const [name, rows] of [
  ['logits.next-scale', nextScale],
  ['logits.masked', masked],
])
  tensors.set(name, { shape: [rows.length, rows[0].length / codes.length, codes.length], data: concat(rows) })

const meanLoss = async (maps, options) => {
  const losses = []
  for (const [index, map] of maps.entries())
    losses.push((await model.score({ tokens: map, label: everyLabel[index], ...options })).meanLoss)
  return mean(losses)
}
const generated = []
for (let seed = 100; seed < 100 + seedsForLoss; seed++)
  generated.push(await meanLoss((await generate({ ...generations[0], seed: String(seed) })).tokens))
const average = mean(generated)
const settings = {
  generations,
  pictures,
  logits,
  codes,
  maskedPositions,
  labels: everyLabel,
  nextScaleLoss: await meanLoss(first.tokens),
  maskedLoss: await meanLoss(first.tokens, { pass: 'masked', maskedPositions }),
  generatedLoss: {
    mean: average,
    deviation: Math.sqrt(
      generated.reduce((sum, loss) => sum + (loss - average) ** 2, 0) / (generated.length - 1),
    ),
  },
}
console.log(settings.nextScaleLoss, settings.maskedLoss, settings.generatedLoss)

const file = join(root, 'packages/shapes/goldens/goldens.safetensors')
mkdirSync(dirname(file), { recursive: true })
await sampler.close()
writeFileSync(file, safetensors(tensors, { settings: JSON.stringify(settings) }))
console.log(`Wrote ${file}`)

/** The bytes of a safetensors file. */
function safetensors(all, metadata) {
  const types = { Float32Array: 'F32', Int32Array: 'I32', Uint8Array: 'U8' }
  const header = { __metadata__: metadata }
  let end = 0
  for (const [name, { shape, data }] of all) {
    const from = end
    end += data.byteLength
    header[name] = { dtype: types[data.constructor.name], shape, data_offsets: [from, end] }
  }
  const json = JSON.stringify(header)
  // Padded, so that the numbers behind it are aligned.
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  const values = [...all.values()].map(({ data }) =>
    Buffer.from(data.buffer, data.byteOffset, data.byteLength),
  )
  return Buffer.concat([length, text, ...values])
}
