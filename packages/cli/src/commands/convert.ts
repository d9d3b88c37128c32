import { convertCheckpoint, findPulledFile } from '@hmar/native'
import { Command, Option } from 'commander'

import type { Context } from '../context.js'
import { formatBytes, formatCount } from '../format.js'
import { type Mode, modeOption } from '../options.js'

interface Options {
  readonly dtype: 'f32' | 'bf16'
  readonly part?: 'model' | 'tokenizer'
  readonly mode?: Mode
  readonly license?: string
  readonly allowNonFinite: boolean
}

export const convertCommand = ({ output, signal }: Context) =>
  new Command('convert')
    .description('Converts checkpoints to safetensors, checking everything in them.')
    .usage('[options] <in...> <out>')
    .argument(
      '<files...>',
      'a .pth or .safetensors file or a name that was pulled (or a next-scale and a masked training file, to be assembled), then the file to write',
    )
    .addOption(
      new Option('--dtype <dtype>', 'what the file shall hold').choices(['f32', 'bf16']).default('f32'),
    )
    .addOption(new Option('--part <part>', 'which half of a training file').choices(['model', 'tokenizer']))
    .addOption(modeOption())
    .option('--license <name>', "what goes into the file as its licence, else the source's own")
    .option('--allow-non-finite', 'keep NaN and infinity instead of refusing them', false)
    .addHelpText(
      'after',
      `
A converted checkpoint keeps its licence: it is written into the file, beside the SHA-256 of the source.
The file appears when it is complete.

Examples:
  hmar convert hmar-d16.pth hmar-d16.safetensors --dtype bf16
  hmar convert training.pth vae.safetensors --part tokenizer
  hmar convert next-scale.pth masked.pth combined.safetensors`,
    )
    .action(async (files: string[], options: Options, command: Command) => {
      const found = await Promise.all(files.slice(0, -1).map(findPulledFile))
      const inputs = found.map(({ path }) => path)
      const mode = options.mode ?? found[0]?.weights?.mode
      const target = files.at(-1)!
      if (inputs.length === 0)
        command.error('error: give at least one file to read and then the file to write')
      const summary = await output.withProgress('converting', ({ bytes }) =>
        convertCheckpoint({ ...options, mode, inputs, output: target, signal, onProgress: bytes }),
      )
      output.result(
        summary,
        `Wrote ${target}: ${formatCount(summary.parameters)} parameters, ${formatBytes(summary.bytes)}.`,
      )
    })
