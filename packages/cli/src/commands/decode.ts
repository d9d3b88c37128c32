import { Command } from 'commander'

import type { Context } from '../context.js'
import { loadTokenizer, type TokenizerOptions, withTokenizerOptions } from '../load-tokenizer.js'
import { readInput } from '../read-input.js'
import { parseTokens } from '../tokens-file.js'

export const decodeCommand = (context: Context) =>
  withTokenizerOptions(new Command('decode'))
    .description('Turns token maps back into a picture.')
    .argument('<tokens>', "what 'hmar encode' wrote; - is standard input")
    .option('--out <file>', 'the PNG, JPEG or WebP to write', 'decoded.png')
    .addHelpText(
      'after',
      `
Examples:
  hmar decode star.json --out star.png
  hmar encode star.png | hmar decode - --out again.png`,
    )
    .action(async (path: string, options: TokenizerOptions & { readonly out: string }) => {
      const { output, signal } = context
      const tokens = parseTokens((await readInput(path)).toString())
      await using tokenizer = await loadTokenizer(options, context)
      const image = await tokenizer.decode(tokens, { signal })
      await image.toFile(options.out)
      const { width, height } = image
      output.result({ file: options.out, width, height }, `Wrote ${options.out}: ${width}×${height} pixels.`)
    })
