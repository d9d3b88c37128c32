import { mkdir } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { HmarSampler } from '@hmar/sampler'
import { labels } from '@hmar/shapes'
import { contactSheet, terminalPreview } from '@hmar/tokenizer'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const { values } = parseArgs({
  options: {
    out: { type: 'string', default: join(root, 'pictures') },
    // Ten pictures that nobody takes for something else.
    seed: { type: 'string', default: '26' },
  },
})

const started = performance.now()
await using sampler = await HmarSampler.load({ model: 'shapes' })
const loaded = performance.now()
const { images } = await sampler.generate({ labels, seed: BigInt(values.seed) })
const generated = performance.now()

await mkdir(values.out, { recursive: true })
const sheet = contactSheet(images)
await sheet.toFile(join(values.out, 'contact-sheet.png'))
for (const [index, image] of images.entries()) await image.toFile(join(values.out, `${labels[index]}.png`))

// 24 bits of colour: otherwise the terminal is said to know fewer, or none are wanted.
if (process.stdout.isTTY && process.stdout.getColorDepth() === 24)
  console.log(terminalPreview(sheet, process.stdout.columns))
console.log(`Ten pictures and contact-sheet.png are in ${relative(process.cwd(), values.out) || '.'}/`)
const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`
console.log(
  `Loaded in ${seconds(loaded - started)}, generated in ${seconds(generated - loaded)}: ${labels.join(', ')}.`,
)
