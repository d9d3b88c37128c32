import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { HmarRangeError, type LabelSpace } from '@hmar/core'
import { labelName, parseLabels } from '@hmar/model'
import { contactSheet, type HmarImage } from '@hmar/tokenizer'
import { Command, Option } from 'commander'

import { chooseSchedule, type ScheduleOptions, withScheduleOptions } from '../choose-schedule.js'
import type { Context } from '../context.js'
import { pictureNames } from '../file-names.js'
import { formatMilliseconds } from '../format.js'
import { loadSampler } from '../load-sampler.js'
import { count, gather, type ModelOptions, seed, withModelOptions } from '../options.js'
import { writePicture } from '../write-picture.js'

interface Options extends ModelOptions, ScheduleOptions {
  readonly label?: readonly string[]
  readonly count: number
  readonly seed: bigint
  readonly out: string
  readonly sheet: boolean
  readonly batchSize: number
}

const mostClassesByDefault = 16
const mostPicturesOnSheet = 1024

export const generateCommand = (context: Context) =>
  withModelOptions(
    withScheduleOptions(
      new Command('generate')
        .description(
          'Generates pictures. The same seed, label and place in the job always give the same picture; each PNG holds the recipe to make it again (hmar reproduce).',
        )
        .addOption(
          new Option(
            '--label <labels>',
            `names or numbers, by commas; 'none' is unconditional (default: all, of up to ${mostClassesByDefault})`,
          ).argParser(gather),
        )
        .addOption(new Option('--count <n>', 'pictures of each label').argParser(count(100_000)).default(1))
        .addOption(new Option('--seed <n>', 'a whole number below 2^64').argParser(seed).default(0n, '0'))
        .option('--out <folder>', 'where the PNGs go', 'pictures')
        .option('--sheet', 'write contact-sheet.png too, with all of them', false)
        .addOption(new Option('--batch-size <n>', 'pictures made at once').argParser(count(1024)).default(8)),
    ),
  )
    .addHelpText(
      'after',
      `
A schedule file lists, scale by scale, how many tokens each pass commits; a list sums to the square of the scale's side:
  cfg: 1.7
  top_k: 1000
  top_p: 0.99
  mask_schedule: [[1], [1, 3], [1, 1, 2, 5], [16], [25], [36], [64], [100], [169], [256]]

Examples:
  hmar generate
  hmar generate --label star,6 --count 4 --seed 13 --sheet
  hmar generate --model hmar-d16.pth --tokenizer vae_ch160v4096z32.pth --label 'golden retriever' --cfg 2
  hmar generate --label star --schedule schedule.yaml --json | jq -r '.pictures[].file'`,
    )
    .action((options: Options) => generate(options, context))

async function generate(options: Options, context: Context): Promise<void> {
  const { output, signal } = context
  const { batchSize, out, seed, sheet } = options
  await using sampler = await loadSampler(options, context)
  const { config } = sampler.model
  const labels = chosenLabels(options.label, config).flatMap((label) =>
    Array.from({ length: options.count }, () => label),
  )
  if (sheet && labels.length > mostPicturesOnSheet)
    throw new HmarRangeError('There are too many pictures for a contact sheet.', {
      found: String(labels.length),
      expected: `at most ${mostPicturesOnSheet}`,
    })
  const schedule = await chooseSchedule(options, config)
  const files = pictureNames(labels.map((label) => labelName(config, label)))
  const pictures = labels.map((label, index) => ({
    file: join(out, files[index] as string),
    label,
    name: labelName(config, label),
  }))

  await mkdir(out, { recursive: true })
  const images: HmarImage[] = []
  const started = performance.now()
  await output.withProgress('generating', async ({ update }) => {
    for (let first = 0; first < labels.length; first += batchSize) {
      const batch = pictures.slice(first, first + batchSize)
      const result = await sampler.generate({
        labels: batch.map(({ label }) => label),
        schedule,
        seed,
        firstImage: first,
        signal,
        onProgress: ({ fraction }) => {
          update((first + fraction * batch.length) / labels.length, `${first} of ${labels.length} written`)
        },
      })
      await Promise.all(batch.map(({ file }, index) => writePicture(sampler, result.images[index]!, file)))
      if (sheet) images.push(...result.images)
    }
  })
  const milliseconds = performance.now() - started
  const sheetFile = sheet ? join(out, 'contact-sheet.png') : undefined
  if (sheetFile) await contactSheet(images).toFile(sheetFile)

  output.result(
    { pictures, sheet: sheetFile, seed: seed.toString(), schedule, milliseconds },
    `Wrote ${pictures.length === 1 ? 'one picture' : `${pictures.length} pictures`} to ${join(out, '/')} in ${formatMilliseconds(milliseconds)}, with seed ${seed}.`,
  )
}

function chosenLabels(inputs: readonly string[] | undefined, model: LabelSpace): (number | null)[] {
  if (inputs) return parseLabels(inputs, model)
  if (model.classes <= mostClassesByDefault) return Array.from({ length: model.classes }, (_, label) => label)
  throw new HmarRangeError(`The model has ${model.classes} classes: say which.`, {
    found: 'no --label',
    remedy: "Give --label 207, --label 'golden retriever', or --label none for unconditional pictures.",
  })
}
