import type { Device, Dtype } from '@hmar/native'
import { Command, Option } from 'commander'

import type { Context } from '../context.js'
import { NegativeResult } from '../exit-code.js'
import { count } from '../options.js'
import { formatVerification, judge } from '../verify/report.js'
import { verify } from '../verify/verify.js'

interface Options {
  readonly device: Device
  readonly dtype?: Dtype
  readonly threads?: number
}

export const verifyCommand = ({ output, signal }: Context) =>
  new Command('verify')
    .description(
      'Checks within a minute whether this machine computes what it should, and says what to do if not.',
    )
    .addOption(new Option('--device <device>', 'auto, cpu, cuda or cuda:<n>').default('auto'))
    .addOption(new Option('--dtype <dtype>', 'one precision only (default: both)').choices(['f32', 'bf16']))
    .addOption(new Option('--threads <n>', 'CPU threads (default: one a core)').argParser(count(1024)))
    .addHelpText(
      'after',
      `
The embedded model encodes, predicts, generates and decodes; every step is held to goldens that come with it. In float32 every
token has to be equal. In bfloat16 errors may be twice those of PyTorch in bfloat16.

Exit code: 0 if everything is as it should be, 1 if not.

Examples:
  hmar verify
  hmar verify --device cuda
  hmar verify --device cuda --json > verification.json`,
    )
    .action(async (options: Options) => {
      const verification = await output.withProgress('verifying', ({ update }) =>
        verify({ ...options, signal, onProgress: update }),
      )
      const verdict = judge(verification)
      output.result({ ...verdict, ...verification }, formatVerification(verification))
      if (!verdict.ok) throw new NegativeResult()
    })
