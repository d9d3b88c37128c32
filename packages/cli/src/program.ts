import { Command } from 'commander'

import packageJson from '../package.json' with { type: 'json' }
import { convertCommand } from './commands/convert.js'
import { decodeCommand } from './commands/decode.js'
import { devicesCommand } from './commands/devices.js'
import { editCommand } from './commands/edit.js'
import { encodeCommand } from './commands/encode.js'
import { generateCommand } from './commands/generate.js'
import { infoCommand } from './commands/info.js'
import { pullCommand } from './commands/pull.js'
import { reproduceCommand } from './commands/reproduce.js'
import { scoreCommand } from './commands/score.js'
import { synthesizeCommand } from './commands/synthesize.js'
import { verifyCommand } from './commands/verify.js'
import type { Context } from './context.js'
import type { Streams } from './output.js'

const examples = `
Examples:
  hmar generate                                     one picture of each of the ten shapes
  hmar generate --label star,heart --count 4 --sheet
  hmar pull hmar-d16 && hmar generate --model hmar-d16 --label 'golden retriever'
  hmar edit star.png --redraw 8,8,48,48 --label heart
  hmar reproduce pictures/star.png
  hmar info hmar-d16.pth
  hmar convert hmar-d16.pth hmar-d16.safetensors --dtype bf16
  hmar encode photo.jpg --out photo.json && hmar decode photo.json --out back.png

Exit codes:
  0    done
  1    failed: a file that cannot be read or written, a device that is missing or computes wrongly, a fault
  2    asked for something impossible: an unknown option, a label or a schedule that does not fit the model
  130  interrupted by Ctrl-C (143: terminated); finished files stay, none is half-written
`

/** The whole command line. Its commands reject; nothing in it ends the process. */
export function createProgram(context: Context, streams: Streams): Command {
  const program = new Command('hmar')
    .description('Generates and studies images with hierarchical masked autoregressive models (HMAR).')
    .version(packageJson.version)
    .option('--json', 'print one JSON document on standard output and nothing else there', false)
    .option('--verbose', 'print the stack of errors', false)
    .addHelpText('after', examples)
  const commands = [
    generateCommand,
    editCommand,
    reproduceCommand,
    infoCommand,
    convertCommand,
    encodeCommand,
    decodeCommand,
    pullCommand,
    scoreCommand,
    synthesizeCommand,
    devicesCommand,
    verifyCommand,
  ]
  for (const create of commands) program.addCommand(create(context))
  program.hook('preAction', () => {
    Object.assign(context.output, program.opts<{ json: boolean; verbose: boolean }>())
  })
  for (const command of [program, ...program.commands])
    command
      .exitOverride()
      .showHelpAfterError('(--help shows the options, with examples)')
      .configureHelp({ showGlobalOptions: true })
      .configureOutput({
        writeOut: (text) => streams.stdout.write(text),
        writeErr: (text) => streams.stderr.write(text),
      })
  return program
}
