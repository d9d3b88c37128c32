import { basename, dirname, resolve } from 'node:path'
import { labelName, parseLabels, type Score } from '@hmar/model'
import { Command } from 'commander'

import type { Context } from '../context.js'
import { formatTable } from '../format.js'
import { loadSampler } from '../load-sampler.js'
import { type ModelOptions, withModelOptions } from '../options.js'
import { findPictures, readPicture } from '../pictures.js'
import { type ScoreSummary, summarizeScores } from '../score.js'

export const scoreCommand = (context: Context) =>
  withModelOptions(new Command('score'))
    .description(
      'Measures how well a model foresees the tokens of pictures, each scale given the true ones before it.',
    )
    .argument('<paths...>', 'pictures whose folder is named after their label, or folders of such folders')
    .addHelpText(
      'after',
      `
Loss is the mean cross-entropy in nats, accuracy the share of tokens that have the largest logit: for every scale, by label
and in all.

Examples:
  hmar score pictures/                       pictures/star/1.png, pictures/heart/1.png, …
  hmar score pictures/*/*.png --json
  hmar score photos/ --model hmar-d16.pth    photos/golden-retriever/1.jpg, photos/207/2.jpg, …`,
    )
    .action(async (paths: string[], options: ModelOptions) => {
      const { output, signal } = context
      const files = await findPictures(paths)
      await using sampler = await loadSampler(options, context)
      const { model, tokenizer } = sampler
      const labelled = files.map((file) => {
        const [label = null] = parseLabels([basename(dirname(resolve(file)))], model.config)
        return { file, label }
      })

      const scores = new Map<string, Score[]>()
      await output.withProgress('scoring', async ({ update }) => {
        for (const [index, { file, label }] of labelled.entries()) {
          update(index / files.length, file)
          const { note, ...picture } = await readPicture(file, sampler.side)
          if (note) output.note(note)
          const tokens = await tokenizer.encode(picture, { signal })
          const score = await model.score({ tokens, label }, { signal })
          const name = labelName(model.config, label)
          scores.set(name, [...(scores.get(name) ?? []), score])
        }
      })
      const labels = [...scores].map(([label, all]) => ({ label, ...summarizeScores(all) }))
      const total = summarizeScores([...scores.values()].flat())
      output.result({ labels, total }, formatScores(model.config.pyramid, labels, total))
    })

function formatScores(
  pyramid: readonly number[],
  labels: readonly (ScoreSummary & { label: string })[],
  total: ScoreSummary,
): string {
  const cells = (loss: number, accuracy: number) => [loss.toFixed(4), `${(accuracy * 100).toFixed(1)}%`]
  const byLabel = [...labels, { label: 'all', ...total }].map(
    ({ label, pictures, meanLoss, meanAccuracy }) => [label, pictures, ...cells(meanLoss, meanAccuracy)],
  )
  const byScale = pyramid.map((side, scale) => [
    `${side}×${side}`,
    ...cells(total.loss[scale] as number, total.accuracy[scale] as number),
  ])
  return [
    formatTable(['label', 'pictures', 'loss', 'accuracy'], byLabel),
    formatTable(['scale', 'loss', 'accuracy'], byScale),
  ].join('\n\n')
}
