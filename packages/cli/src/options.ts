import type { Arithmetic, Device } from '@hmar/native'
import { type Command, InvalidArgumentError, Option } from 'commander'

/** Reads a number; what range it must lie in is the library's to say. */
export function number(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || Number.isNaN(value)) throw new InvalidArgumentError('It is not a number.')
  return value
}

/** Reads a whole number from 1 to `most`. */
export const count = (most: number) => (text: string) => {
  const value = number(text)
  if (!Number.isInteger(value) || value < 1 || value > most)
    throw new InvalidArgumentError(`It is not a whole number from 1 to ${most}.`)
  return value
}

/** Reads a seed: all 64 bits count. */
export function seed(text: string): bigint {
  if (!/^\d+$/.test(text) || BigInt(text) >= 1n << 64n)
    throw new InvalidArgumentError('It is not a whole number from 0 to 2^64 - 1.')
  return BigInt(text)
}

/** Gathers an option that may be given several times. */
export const gather = (value: string, earlier: readonly string[] = []) => [...earlier, value]

/** Where and how to compute. */
export interface RuntimeOptions {
  readonly device: Device
  readonly dtype: Arithmetic
  readonly batchInvariant?: boolean | undefined
  readonly threads?: number | undefined
}

export const withRuntimeOptions = (command: Command) =>
  command
    .addOption(new Option('--device <device>', 'auto, cpu, cuda or cuda:<n>').default('auto'))
    .addOption(
      new Option('--dtype <dtype>', 'precision of weights and products')
        .choices(['f32', 'bf16', 'fp8'])
        .default('f32'),
    )
    .option('--batch-invariant', 'the same picture whatever is generated beside it; slower on a GPU')
    .addOption(new Option('--threads <n>', 'CPU threads (default: one a core)').argParser(count(1024)))

/** Of a command's options, those that say where and how to compute. */
export const runtimeOptions = ({
  device,
  dtype,
  batchInvariant,
  threads,
}: RuntimeOptions): RuntimeOptions => ({
  device,
  dtype,
  batchInvariant,
  threads,
})

/** What a single stack of blocks attends to: its scale alone, or all earlier ones too. */
export type Mode = 'next-scale' | 'var'

export const modeOption = () =>
  new Option('--mode <mode>', 'which it is, where the file does not tell').choices(['next-scale', 'var'])

/** The options of commands that need a model and its tokenizer. */
export interface ModelOptions extends RuntimeOptions {
  readonly model: string
  readonly tokenizer?: string
  readonly mode?: Mode
}

export const withModelOptions = (command: Command) =>
  withRuntimeOptions(
    command
      .option(
        '--model <name or path>',
        "'shapes' (embedded), a name that was pulled, a .pth or .safetensors file, or a folder",
        'shapes',
      )
      .option(
        '--tokenizer <name or path>',
        "the tokenizer, by name or file (default: the model's, or the one beside it)",
      )
      .addOption(modeOption()),
  )
