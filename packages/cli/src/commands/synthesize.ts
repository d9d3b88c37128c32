import { synthesizeCheckpoint } from '@hmar/native'
import { Command, InvalidArgumentError, Option } from 'commander'

import type { Context } from '../context.js'
import { count } from '../options.js'

const resolutions = [256, 512, 1024] as const

type Resolution = (typeof resolutions)[number]

function resolution(text: string): Resolution {
  const found = resolutions.find((side) => String(side) === text)
  if (found === undefined) throw new InvalidArgumentError(`It is none of ${resolutions.join(', ')}.`)
  return found
}

interface Options {
  readonly depth: number
  readonly layout: 'hmar' | 'next-scale' | 'var'
  readonly resolution: Resolution
  readonly dtype: 'f32' | 'bf16'
}

export const synthesizeCommand = ({ output, signal }: Context) =>
  new Command('synthesize')
    .description('Makes full-size checkpoints of reproducible random weights: for benchmarks and tests.')
    .argument('<out>', 'a folder, for model.safetensors, tokenizer.safetensors and config.json')
    .addOption(new Option('--depth <n>', 'blocks; the width is 64 times it').argParser(count(64)).default(16))
    .addOption(
      new Option('--layout <layout>', "the model's kind")
        .choices(['hmar', 'next-scale', 'var'])
        .default('hmar'),
    )
    .addOption(
      new Option('--resolution <pixels>', "a side of the model's pictures: 256, 512 or 1024")
        .argParser(resolution)
        .default(256),
    )
    .addOption(new Option('--dtype <dtype>', 'what the files hold').choices(['f32', 'bf16']).default('f32'))
    .addHelpText(
      'after',
      `
Examples:
  hmar synthesize --depth 16 synthetic-d16
  hmar synthesize --depth 24 --resolution 512 --dtype bf16 synthetic-d24-512
  hmar generate --model synthetic-d16/model.safetensors --label 207      pictures of nothing, at full cost`,
    )
    .action(async (out: string, options: Options) => {
      await output.withProgress('synthesizing', ({ bytes }) =>
        synthesizeCheckpoint({ ...options, output: out, signal, onProgress: bytes }),
      )
      output.result(
        { output: out, ...options },
        `Wrote a synthetic d${options.depth} (${options.layout}) to ${out}.`,
      )
    })
