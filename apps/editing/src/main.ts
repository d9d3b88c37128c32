import { mkdir, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { HmarSampler, type KeepMask, keepInside, keepOutside } from '@hmar/sampler'
import { labels, renderShape, sampleShape, seededRandom } from '@hmar/shapes'
import { loadClassifier } from '@hmar/shapes/testing'
import { contactSheet, HmarImage } from '@hmar/tokenizer'

import { keptError } from './kept-error.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const folder = join(root, 'docs', 'editing')
await mkdir(folder, { recursive: true })

const seed = 5
const random = seededRandom(seed)
const classify = loadClassifier(pathToFileURL(join(root, 'packages/shapes/fixtures/classifier.safetensors')))
await using sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
const { side, tokenizer } = sampler
const everyLabel = [...labels.keys()]
const drawn = (label: (typeof labels)[number]) => new HmarImage(renderShape(sampleShape(random, label)))
const sources = labels.map(drawn)
const sheet = (images: readonly HmarImage[], name: string, columns: number) =>
  contactSheet(images, { columns }).toFile(join(folder, `${name}.png`))

/** Every source as every other class. */
async function everyClass(name: string, mask: KeepMask) {
  const plain: [Uint8Array, Uint8Array][] = []
  const rebuilt: [Uint8Array, Uint8Array][] = []
  const shown: HmarImage[] = []
  let recognised = 0
  for (const [label, source] of sources.entries()) {
    const wanted = everyLabel.filter((other) => other !== label)
    const result = await sampler.edit({ source, mask, labels: wanted, seed: label })
    const decoded = await tokenizer.decode(result.source)
    for (const [index, image] of result.images.entries()) {
      if (classify(image) === wanted[index]) recognised++
      plain.push([source.data, image.data])
      rebuilt.push([source.data, decoded.data])
    }
    shown.push(source, ...result.images.slice(0, 7))
  }
  const figures = {
    name,
    pictures: plain.length,
    recognised: recognised / plain.length,
    keptError: keptError(plain, mask),
    tokenizerError: keptError(rebuilt, mask),
  }
  return { figures, shown }
}

const editing = []
for (const cells of [5, 6, 7]) {
  const width = cells * 8
  // Whole tokens of the finest scale, as near to the middle as they come.
  const left = Math.floor((8 - cells) / 2) * 8
  const box = { left, top: left, width, height: width }
  const { figures, shown } = await everyClass(`${width}×${width} of 64×64 redrawn`, keepOutside(box, side))
  editing.push(figures)
  if (cells === 6) await sheet(shown.slice(0, 5 * 8), 'in-painting', 8)
}

/** What stays of the right quarter, the more is kept to its left. */
const outPainting = []
const quarter = keepInside({ left: 48, top: 0, width: 16, height: side }, side)
const painted: HmarImage[] = []
for (const width of [16, 32, 48]) {
  const mask = keepInside({ left: side - width, top: 0, width, height: side }, side)
  const pairs: [Uint8Array, Uint8Array][] = []
  for (const source of sources) {
    const { images } = await sampler.edit({ source, mask, labels: [null, null, null, null], seed: 2 })
    pairs.push(...images.map(({ data }): [Uint8Array, Uint8Array] => [source.data, data]))
    if (width === 32) painted.push(source, ...images.slice(0, 3))
  }
  outPainting.push({ keptColumns: width, pictures: pairs.length, keptError: keptError(pairs, quarter) })
}
await sheet(painted.slice(0, 24), 'out-painting', 8)

const all = keepInside({ left: 0, top: 0, width: side, height: side }, side)
const [star, heart] = [drawn('star'), drawn('heart')]
const variation = []
const varied: HmarImage[] = []
for (const scales of [1, 2, 3, 4, 5]) {
  const { images } = await sampler.vary({ source: star, scales, labels: Array(50).fill('star'), seed: 3 })
  varied.push(star, ...images.slice(0, 7))
  variation.push({
    keptScales: scales,
    pictures: images.length,
    recognised: images.filter((image) => classify(image) === labels.indexOf('star')).length / images.length,
    distance: keptError(
      images.map(({ data }) => [star.data, data]),
      all,
    ),
  })
}
await sheet(varied, 'variation', 8)

const mixed: HmarImage[] = []
for (const scales of [2, 3, 4, 6])
  for (const weight of [0, 1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7, 6 / 7, 1]) {
    const { images } = await sampler.interpolate({ sources: [star, heart], weight, scales, seed: 3 })
    mixed.push(...images)
  }
await sheet(mixed, 'interpolation', 8)

const results = {
  date: new Date().toISOString().slice(0, 10),
  command: 'npm run editing',
  cpu: cpus()[0]?.model.trim(),
  seed,
  editing,
  outPainting,
  variation,
}
await writeFile(join(folder, 'results.json'), `${JSON.stringify(results, null, 2)}\n`)
console.log(results)
