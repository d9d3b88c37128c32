import { Command } from 'commander'

import { outOption, quickOption } from '../options.js'

/** What was asked for. */
export interface KernelOptions {
  readonly quick: boolean
  readonly out: string
}

export const kernelsCommand = (root: string, work: (options: KernelOptions) => Promise<void>) =>
  new Command('kernels')
    .description(
      "Times attention over pyramids of 256, 512 and 1024 px on an NVIDIA GPU, beside PyTorch's ways to do it.",
    )
    .addOption(quickOption('fewer repetitions'))
    .addOption(outOption(root))
    .action(work)
