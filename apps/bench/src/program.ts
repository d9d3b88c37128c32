import { Command } from 'commander'

import { type CompareOptions, compareCommand } from './compare/command.js'
import { type GenerationOptions, generationCommand } from './generation-command.js'
import { type KernelOptions, kernelsCommand } from './kernels/command.js'

/** What the commands do. */
export interface Work {
  generation(options: GenerationOptions): Promise<void>
  kernels(options: KernelOptions): Promise<void>
  compare(options: CompareOptions): Promise<void>
}

/**
 * The command line of the benchmark. Its words are checked before anything is measured.
 *
 * @param root - the folder that defaults are relative to
 */
export function createProgram(root: string, work: Work): Command {
  const program = new Command('npm run bench --')
    .description(
      'Times this engine beside PyTorch (HMAR_PYTHON names the Python that has it; it defaults to python3).',
    )
    .exitOverride()
  program.addCommand(generationCommand(root, work.generation), { isDefault: true })
  program.addCommand(kernelsCommand(root, work.kernels))
  program.addCommand(compareCommand(root, work.compare))
  for (const command of program.commands) command.exitOverride().showHelpAfterError()
  return program
}
