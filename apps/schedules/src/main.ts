import { mkdir, writeFile } from 'node:fs/promises'
import { availableParallelism, cpus } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { HmarSampler } from '@hmar/sampler'
import { labels, renderShape, sampleShape, seededRandom } from '@hmar/shapes'
import { loadClassifier } from '@hmar/shapes/testing'
import { contactSheet } from '@hmar/tokenizer'

import { diversity, type Labelled } from './diversity.js'
import { familiesOf, type Variant } from './families.js'

const help = `npm run schedules -- [--count <pictures of each label>] [--only <family>]

Generates pictures with every schedule of docs/schedules.md, draws a sheet for each family (a row a schedule, a column a
label, all from one seed) into docs/schedules, and measures how many show what they should and how diverse they are.`

const root = fileURLToPath(new URL('../../..', import.meta.url))
const { values: options } = parseArgs({
  options: {
    count: { type: 'string', default: '30' },
    only: { type: 'string', default: '' },
    help: { type: 'boolean', default: false },
  },
})
const count = Number(options.count)
if (options.help || !(Number.isInteger(count) && count > 1)) {
  console.log(help)
  process.exit(options.help ? 0 : 2)
}

const seed = 7
const batchSize = 10
const classify = loadClassifier(pathToFileURL(join(root, 'packages/shapes/fixtures/classifier.safetensors')))
const shown = (pictures: readonly Labelled[]) => ({
  accuracy:
    pictures.filter(({ label, data }) => classify({ data, width: 64, height: 64 }) === label).length /
    pictures.length,
  diversity: diversity(pictures),
})

await using sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
const families = familiesOf(sampler.model.config)
const chosen = families.filter(({ name }) => options.only === '' || options.only === name)
if (chosen.length === 0) throw new Error(`The families are ${families.map(({ name }) => name).join(', ')}.`)

async function measure({ name, schedule }: Variant) {
  const each = labels.map((_, label) => label)
  const wanted = Array.from({ length: count }, () => each).flat()
  const { images, plan } = await sampler.generate({ labels: wanted, seed, schedule, batchSize })
  const pictures = images.map(({ data }, index) => ({ label: wanted[index] as number, data }))
  const figures = {
    name,
    plan: plan.hash,
    passes: plan.passes.length,
    ...shown(pictures),
    schedule,
  }
  return { figures, row: images.slice(0, labels.length) }
}

const folder = join(root, 'docs', 'schedules')
await mkdir(folder, { recursive: true })
const measured = []
for (const family of chosen) {
  const rows = []
  for (const variant of family.variants) {
    const { figures, row } = await measure(variant)
    rows.push(...row)
    measured.push({ family: family.name, ...figures })
    const { name, passes, accuracy, diversity } = figures
    console.log(`| ${name} | ${passes} | ${(100 * accuracy).toFixed(1)}% | ${diversity.toFixed(1)} |`)
  }
  await contactSheet(rows, { columns: labels.length }).toFile(join(folder, `${family.name}.png`))
}

const random = seededRandom(seed)
const training = Array.from({ length: count * labels.length }, (_, index) => {
  const label = index % labels.length
  return { label, data: renderShape(sampleShape(random, labels[label] as (typeof labels)[number])).data }
})
const results = {
  date: new Date().toISOString().slice(0, 10),
  command: ['npm run schedules', ...(process.argv.length > 2 ? ['--'] : []), ...process.argv.slice(2)].join(
    ' ',
  ),
  cpu: cpus()[0]?.model.trim(),
  threads: availableParallelism(),
  seed,
  picturesOfEachLabel: count,
  training: shown(training),
  schedules: measured,
}
if (options.only === '')
  await writeFile(join(folder, 'results.json'), `${JSON.stringify(results, null, 1)}\n`)
console.log(`training pictures: ${JSON.stringify(results.training)}`)
