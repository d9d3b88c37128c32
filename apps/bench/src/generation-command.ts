import { Command, Option } from 'commander'

import { type BenchDevice, type BenchModel, benchModels } from './cases.js'
import { deviceOption, outOption, quickOption, threadsOption, weightsOption } from './options.js'

/** What was asked for. */
export interface GenerationOptions {
  readonly device: BenchDevice
  /** Undefined: the device's usual ones. */
  readonly model?: readonly BenchModel[]
  readonly quick: boolean
  readonly resume: boolean
  readonly threads: number
  readonly out: string
  readonly weights: string
}

export const generationCommand = (root: string, work: (options: GenerationOptions) => Promise<void>) =>
  new Command('generation')
    .description(
      'Times whole generations, their passes and operations, memory, and opening files (the default).',
    )
    .addOption(deviceOption())
    .addOption(
      new Option('--model <name...>', 'by default the usual ones of the device').choices(benchModels),
    )
    .addOption(quickOption('fewer models, batches and repetitions: three minutes on a GPU'))
    .option('--resume', 'do not measure again what the same commit measured into the same file today', false)
    .addOption(threadsOption())
    .addOption(outOption(root))
    .addOption(weightsOption(root))
    .addHelpText(
      'after',
      `
On the CPU: the embedded model and synthetic weights of full size, in float32 and bfloat16, beside PyTorch in float32.
On an NVIDIA GPU: synthetic d16, d20, d24, d30 and d24-512, batches of 1, 8 and 64 in bfloat16, beside PyTorch eager and as one
CUDA graph; memory; and the way from a file on disk to the first picture.`,
    )
    .action(work)
