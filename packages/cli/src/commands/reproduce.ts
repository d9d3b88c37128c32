import { extname } from 'node:path'
import { HmarError, parseRecipe, type Recipe } from '@hmar/core'
import { readRecipe } from '@hmar/sampler'
import { readPicture } from '@hmar/tokenizer'
import { Command } from 'commander'

import type { Context } from '../context.js'
import { NegativeResult } from '../exit-code.js'
import { loadSampler } from '../load-sampler.js'
import { type ModelOptions, withModelOptions } from '../options.js'
import { readInput } from '../read-input.js'
import { writePicture } from '../write-picture.js'

interface Options extends ModelOptions {
  readonly out?: string
}

export const reproduceCommand = (context: Context) =>
  withModelOptions(
    new Command('reproduce')
      .description(
        'Makes a picture again from the recipe inside its PNG, and says whether every pixel is the same.',
      )
      .argument('<file>', 'a PNG that HMAR wrote, or a recipe as JSON; - is standard input')
      .option('--out <file>', 'write the picture that was made to this PNG'),
  )
    .addHelpText(
      'after',
      `
The recipe names label, seed, schedule and what an edit kept, and has digests of the weights and of the pixels. On the CPU
the picture is the same to the last bit; on a GPU rounding may differ with what was generated beside it.

Examples:
  hmar reproduce pictures/star.png
  hmar reproduce recipe.json --out star.png
  hmar reproduce dog.png --model hmar-d16.pth --tokenizer vae_ch160v4096z32.pth`,
    )
    .action((file: string, options: Options) => reproduce(file, options, context))

async function reproduce(file: string, options: Options, context: Context): Promise<void> {
  const { output, signal } = context
  if (options.out !== undefined && extname(options.out).toLowerCase() !== '.png')
    throw new HmarError('IMAGE_INVALID', 'Only a PNG holds a recipe.', {
      found: options.out,
      expected: '….png',
    })
  const { recipe, pixels } = await readSource(file)
  await using sampler = await loadSampler(options, context)
  const { image, identical } = await output.withProgress('reproducing', ({ update }) =>
    sampler.reproduce(recipe, { signal, onProgress: ({ fraction }) => update(fraction, '') }),
  )
  if (options.out !== undefined) await writePicture(sampler, image, options.out)

  const different = pixels && image.data.reduce((sum, value, at) => sum + Number(value !== pixels[at]), 0)
  const same = identical && (different === undefined || different === 0)
  const what = describe(recipe)
  const result = { file, recipe, identical: same, differentBytes: different, out: options.out }
  if (same) return output.result(result, `The same: ${what}, all ${image.data.length} bytes of its pixels.`)
  output.result(result, `Not the same: ${what}. ${explain(recipe, identical, different)}`)
  throw new NegativeResult()
}

/** The recipe, and of a picture its pixels, which somebody may have touched. */
async function readSource(path: string): Promise<{ recipe: Recipe; pixels?: Uint8Array }> {
  const file = await readInput(path)
  if (!isJson(file)) return { recipe: await readRecipe(file), pixels: (await readPicture(file)).data }
  try {
    return { recipe: parseRecipe(JSON.parse(file.toString())) }
  } catch (cause) {
    if (HmarError.isInstance(cause)) throw cause
    throw new HmarError('RECIPE_INVALID', `'${path}' is no recipe.`, {
      found: (cause as Error).message,
      expected: 'a PNG that HMAR wrote, or JSON',
      cause,
    })
  }
}

/** Nothing else that comes in question begins with a brace. */
const isJson = (file: Buffer) => /^\s*\{/.test(file.toString('latin1', 0, 64))

const describe = ({ model, label, labelName, seed, image }: Recipe) =>
  `${labelName ?? (label === null ? 'a picture without a class' : `class ${label}`)} of ${model.name}, seed ${seed}, image ${image}`

function explain({ device, packages }: Recipe, identical: boolean, different: number | undefined): string {
  if (identical)
    return `The recipe makes its own picture, but ${different} bytes of this file were changed since.`
  const versions = Object.entries(packages).map(([name, version]) => `${name} ${version}`)
  return `It was made on ${device.id} in ${device.dtype} with ${versions.join(', ')}.`
}
