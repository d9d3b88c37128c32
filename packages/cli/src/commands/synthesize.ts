import { synthesizeCheckpoint } from '@hmar/native'
import { Command, Option } from 'commander'

import type { Context } from '../context.js'
import { count } from '../options.js'

interface Options {
  readonly depth: number
  readonly layout: 'hmar' | 'next-scale' | 'var'
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
    .addOption(new Option('--dtype <dtype>', 'what the files hold').choices(['f32', 'bf16']).default('f32'))
    .addHelpText(
      'after',
      `
Examples:
  hmar synthesize --depth 16 synthetic-d16
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
