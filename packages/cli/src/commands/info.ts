import { findPulledFile, inspectCheckpoint } from '@hmar/native'
import { Command } from 'commander'

import type { Context } from '../context.js'
import { formatBytes, formatCount, formatFields, formatTable } from '../format.js'
import { type Mode, modeOption } from '../options.js'

interface Options {
  readonly mode?: Mode
  readonly tensors: boolean
}

export const infoCommand = ({ output, signal }: Context) =>
  new Command('info')
    .description('Says what a checkpoint is. Nothing in the file is executed, no weights are loaded.')
    .argument('<file>', 'a .pth or .safetensors file, or a name that was pulled')
    .addOption(modeOption())
    .option('--tensors', 'list every tensor too', false)
    .addHelpText(
      'after',
      '\nExamples:\n  hmar info hmar-d16.pth\n  hmar info vae_ch160v4096z32.pth --tensors\n  hmar info hmar-d16.pth --json',
    )
    .action(async (name: string, { mode, tensors }: Options) => {
      const { path: file, weights } = await findPulledFile(name)
      const checkpoint = await inspectCheckpoint(file, { mode: mode ?? weights?.mode, signal })
      const { modelConfig: model, tokenizerConfig: tokenizer, metadata } = checkpoint
      const summary = formatFields({
        file,
        format: checkpoint.format,
        holds: checkpoint.kind,
        layout: checkpoint.layout,
        parameters: formatCount(checkpoint.parameters),
        tensors: formatCount(checkpoint.tensors.length),
        size: formatBytes(checkpoint.bytes),
        licence: checkpoint.license ?? 'not stated',
        depth: model && `${model.depth} blocks, ${model.branchDepth} of them in each branch`,
        width: model && `${model.width}, ${model.heads} heads`,
        classes: model?.classes,
        codebook: tokenizer && `${tokenizer.codebookSize} codes of ${tokenizer.codeDimension}`,
        channels: tokenizer && `${tokenizer.channels} × (${tokenizer.channelMultipliers.join(', ')})`,
        pyramid: (model ?? tokenizer)?.pyramid?.join(' '),
      })
      const rows = checkpoint.tensors.map(({ name, dtype, shape }) => [name, dtype, shape.join('×')])
      const notes = Object.entries(metadata).map(([name, value]) => `${name}: ${value}`)
      output.result(
        checkpoint,
        [summary, ...notes, ...(tensors ? ['', formatTable(['tensor', 'dtype', 'shape'], rows)] : [])].join(
          '\n',
        ),
      )
    })
