import { tokenizerPath } from '@hmar/shapes'
import { Tokenizer } from '@hmar/tokenizer'
import { type Command, Option } from 'commander'

import type { Context } from './context.js'
import { type RuntimeOptions, runtimeOptions, withRuntimeOptions } from './options.js'

/** The options of commands that need a tokenizer only. */
export interface TokenizerOptions extends RuntimeOptions {
  readonly tokenizer: string
}

export const withTokenizerOptions = (command: Command) =>
  withRuntimeOptions(
    command.addOption(
      new Option(
        '--tokenizer <name or file>',
        "'shapes' (embedded), 'vae_ch160v4096z32' where it was pulled, or a .pth or .safetensors file",
      ).default('shapes'),
    ),
  )

export function loadTokenizer(options: TokenizerOptions, { output, signal }: Context): Promise<Tokenizer> {
  const path = options.tokenizer === 'shapes' ? tokenizerPath : options.tokenizer
  return output.withProgress('loading', ({ bytes }) =>
    Tokenizer.load({ ...runtimeOptions(options), path, signal, onProgress: bytes }),
  )
}
