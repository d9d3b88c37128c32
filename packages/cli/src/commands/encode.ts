import { writeFileAtomically } from '@hmar/native'
import { Command, Option } from 'commander'

import type { Context } from '../context.js'
import { loadTokenizer, type TokenizerOptions, withTokenizerOptions } from '../load-tokenizer.js'
import { readPicture } from '../pictures.js'
import { formatTokens } from '../tokens-file.js'

interface Options extends TokenizerOptions {
  readonly side?: '256' | '512' | '1024'
  readonly out?: string
}

export const encodeCommand = (context: Context) =>
  withTokenizerOptions(new Command('encode'))
    .description('Turns a picture into token maps, one for every scale.')
    .argument(
      '<picture>',
      'PNG, JPEG, WebP, …; cropped and resized where it does not fit; - is standard input',
    )
    .addOption(
      new Option('--side <pixels>', 'for a tokenizer of several sizes (default: 256)').choices([
        '256',
        '512',
        '1024',
      ]),
    )
    .option('--out <file>', 'where to write the tokens (default: standard output)')
    .addHelpText(
      'after',
      `
Examples:
  hmar encode star.png
  hmar encode photo.jpg --tokenizer vae_ch160v4096z32.pth --side 512 --out photo.json`,
    )
    .action(async (path: string, options: Options) => {
      const { output, signal } = context
      await using tokenizer = await loadTokenizer(options, context)
      const { note, ...picture } = await readPicture(path, tokenizer.side ?? Number(options.side ?? 256))
      if (note) output.note(note)
      const tokens = formatTokens(await tokenizer.encode(picture, { signal }))
      if (options.out === undefined) return output.result(tokens, JSON.stringify(tokens))
      await writeFileAtomically(options.out, `${JSON.stringify(tokens)}\n`)
      const count = tokens.scales.flat().length
      output.result({ file: options.out, tokens: count }, `Wrote ${options.out}: ${count} tokens.`)
    })
