import { mkdir } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { labelName, parseLabels } from '@hmar/model'
import { type EditResult, type HmarSampler, keepDark, keepInside, keepOutside } from '@hmar/sampler'
import { Command, InvalidArgumentError, Option } from 'commander'

import { chooseSchedule, type ScheduleOptions, withScheduleOptions } from '../choose-schedule.js'
import type { Context } from '../context.js'
import { pictureNames, slug } from '../file-names.js'
import { formatMilliseconds } from '../format.js'
import { loadSampler } from '../load-sampler.js'
import { count, gather, type ModelOptions, number, seed, withModelOptions } from '../options.js'
import { readPicture } from '../pictures.js'
import { writePicture } from '../write-picture.js'

interface Box {
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
}

interface Options extends ModelOptions, ScheduleOptions {
  readonly redraw?: Box
  readonly keep?: Box
  readonly mask?: string
  readonly keepScales?: number
  readonly mix?: string
  readonly weight: number
  readonly composite?: true | number
  readonly label?: readonly string[]
  readonly count: number
  readonly seed: bigint
  readonly out: string
}

function box(text: string): Box {
  const [left, top, width, height, ...more] = text.split(',').map(number)
  if (left === undefined || top === undefined || width === undefined || height === undefined || more.length)
    throw new InvalidArgumentError('It is not LEFT,TOP,WIDTH,HEIGHT.')
  return { left, top, width, height }
}

const ways = ['redraw', 'keep', 'mask', 'keepScales']
const oneWay = (flags: string, description: string, name: string) =>
  new Option(flags, description).conflicts(ways.filter((way) => way !== name))

export const editCommand = (context: Context) =>
  withModelOptions(
    withScheduleOptions(
      new Command('edit')
        .description(
          'Draws a part of a picture anew: a box, all but a box, what a mask shows, or its details.',
        )
        .argument(
          '<picture>',
          'PNG, JPEG, WebP, …; cropped and resized where it does not fit; - is standard input',
        )
        .addOption(
          oneWay(
            '--redraw <box>',
            'draw this box anew: left,top,width,height, in pixels of the result',
            'redraw',
          ).argParser(box),
        )
        .addOption(
          oneWay('--keep <box>', 'keep this box, draw what is around it anew', 'keep').argParser(box),
        )
        .addOption(
          oneWay('--mask <picture>', 'draw anew where this picture is bright, keep where it is dark', 'mask'),
        )
        .addOption(
          oneWay(
            '--keep-scales <k>',
            'keep the first k scales, draw the finer ones anew',
            'keepScales',
          ).argParser(count(100)),
        )
        .addOption(
          new Option(
            '--mix <picture>',
            'with --keep-scales: mix those scales with another picture’s',
          ).conflicts(['redraw', 'keep', 'mask']),
        )
        .addOption(new Option('--weight <w>', 'of the other picture, 0 to 1').argParser(number).default(0.5))
        .addOption(
          new Option(
            '--composite [feather]',
            'put kept pixels back, blending over so many at edges (default: none)',
          )
            .argParser(number)
            .conflicts('keepScales'),
        )
        .addOption(
          new Option(
            '--label <labels>',
            'what to draw: names or numbers, by commas (default: no class)',
          ).argParser(gather),
        )
        .addOption(new Option('--count <n>', 'pictures of each label').argParser(count(1024)).default(1))
        .addOption(new Option('--seed <n>', 'a whole number below 2^64').argParser(seed).default(0n, '0'))
        .option('--out <folder>', 'where the PNGs go', 'pictures'),
    ),
  )
    .addHelpText(
      'after',
      `
Examples:
  hmar edit star.png --redraw 8,8,48,48 --label heart,ring
  hmar edit star.png --keep 0,0,32,64 --count 4
  hmar edit photo.jpg --mask painted.png --composite 4 --model hmar-d16.pth --tokenizer vae_ch160v4096z32.pth
  hmar edit star.png --keep-scales 3 --label star --count 8
  hmar edit star.png --keep-scales 3 --mix heart.png --weight 0.3 --label star`,
    )
    .action((picture: string, options: Options, command: Command) => {
      if (!ways.some((way) => command.getOptionValue(way) !== undefined))
        command.error('error: say what to keep: --redraw, --keep, --mask or --keep-scales')
      return edit(picture, options, context)
    })

async function edit(path: string, options: Options, context: Context): Promise<void> {
  const { output, signal } = context
  await using sampler = await loadSampler(options, context)
  const { config } = sampler.model
  const wanted = options.label ? parseLabels(options.label, config) : [null]
  const labels = wanted.flatMap((label) => Array.from({ length: options.count }, () => label))
  const schedule = await chooseSchedule(options, config)
  const source = await readSource(path, sampler, context)

  const started = performance.now()
  const result = await output.withProgress('drawing', ({ update }) => {
    const onProgress = ({ fraction }: { fraction: number }) => update(fraction, '')
    const how = { labels, schedule, seed: options.seed, signal, onProgress }
    return drawn(sampler, source, options, how, context)
  })
  const milliseconds = performance.now() - started

  await mkdir(options.out, { recursive: true })
  const stem = path === '-' ? 'picture' : slug(basename(path, extname(path)))
  const files = pictureNames(
    labels.map((label) => `${stem} ${label === null ? 'edited' : labelName(config, label)}`),
  )
  const pictures = labels.map((label, index) => ({ file: join(options.out, files[index] as string), label }))
  await Promise.all(pictures.map(({ file }, index) => writePicture(sampler, result.images[index]!, file)))
  output.result(
    { pictures, seed: options.seed.toString(), schedule, milliseconds },
    `Wrote ${pictures.map(({ file }) => file).join(', ')} in ${formatMilliseconds(milliseconds)}, with seed ${options.seed}.`,
  )
}

type How = Omit<Parameters<HmarSampler['vary']>[0], 'source' | 'scales'>
type Source = Awaited<ReturnType<typeof readSource>>

async function drawn(
  sampler: HmarSampler,
  source: Source,
  { redraw, keep, mask, keepScales, mix, weight, composite }: Options,
  how: How,
  context: Context,
): Promise<EditResult> {
  if (keepScales !== undefined && mix !== undefined) {
    const sources = [source, await readSource(mix, sampler, context)] as const
    return sampler.interpolate({ sources, weight, scales: keepScales, ...how })
  }
  if (keepScales !== undefined) return sampler.vary({ source, scales: keepScales, ...how })
  const { side } = sampler
  const shown = async () => {
    if (redraw) return keepOutside(redraw, side)
    if (keep) return keepInside(keep, side)
    return keepDark(await readSource(mask as string, sampler, context))
  }
  return sampler.edit({
    source,
    mask: await shown(),
    composite: typeof composite === 'number' ? { feather: composite } : composite,
    ...how,
  })
}

async function readSource(path: string, { side }: HmarSampler, { output }: Context) {
  const { note, ...picture } = await readPicture(path, side)
  if (note) output.note(note)
  return picture
}
