import { join } from 'node:path'

import { type BenchModel, benchModels, casesOf, defaultModels, repetitions, roundsOf } from './cases.js'
import { commandLine } from './command-line.js'
import { formatTime } from './format.js'
import type { GenerationOptions } from './generation-command.js'
import { describeCommit, describeHost } from './host.js'
import { measureOpening, type Opening } from './opening.js'
import { type CaseResult, isMeasured, type Results, type SkippedCase, withComparisons } from './results.js'
import { readEarlier, writeResults } from './results-file.js'
import { measureInRounds } from './rounds.js'
import { weightsFolder } from './weights-folder.js'

/** Measures what was asked for, model by model; what is measured is written at once. */
export async function bench(options: GenerationOptions, root: string): Promise<void> {
  const { device, quick, threads } = options
  const host = describeHost(device)
  const head = {
    date: new Date().toISOString().slice(0, 10),
    commit: describeCommit(root),
    host,
    node: process.versions.node,
    threads,
    quick,
  }
  const file = join(options.out, `${head.date}-${host.device}`)
  const earlier = options.resume ? await readEarlier(file, head) : undefined
  const command = [earlier?.command, commandLine()].filter(Boolean).join('\n')
  let results: Results = { cases: [], openings: [], ...earlier, ...head, command }
  const extend = async (more: Partial<Pick<Results, 'cases' | 'openings'>>) => {
    results = { ...results, ...more }
    await writeResults(file, results)
  }

  const models = options.model ?? defaultModels(device, quick)
  const folderOf = (model: BenchModel) => weightsFolder(model, device, options.weights)
  for (const model of models.filter((name) => !isOf(name, results.cases))) {
    const setting = { ...repetitions(model, device, quick), folder: await folderOf(model), threads }
    const measured = await measureInRounds(casesOf(model, device, quick), roundsOf(device, quick), {
      ...setting,
      gpu: host.gpu?.name,
    })
    const compared = withComparisons(measured)
    for (const result of compared) console.log(describeCase(result))
    await extend({ cases: [...results.cases, ...compared] })
  }

  const largest = device === 'cuda' ? largestOf(models) : undefined
  if (largest && !isOf(largest, results.openings)) {
    const opening = await measureOpening(largest, device, await folderOf(largest), quick ? 1 : 3)
    console.log(describeOpening(opening))
    await extend({ openings: [...results.openings, opening] })
  }
  console.log(`Wrote ${file}.json and ${file}.html`)
}

const isOf = (model: BenchModel, found: readonly { readonly model: BenchModel }[]) =>
  found.some((result) => result.model === model)

/** The model that takes longest to open. */
const largestOf = (models: readonly BenchModel[]) =>
  benchModels.findLast((model) => model !== 'd24-512' && models.includes(model))

function describeCase(result: CaseResult | SkippedCase): string {
  const name = `${result.model} ×${result.batch} ${result.name}`
  if (!isMeasured(result)) return `${name}: not measured`
  const { engine, time, floor, speedup, graphSpeedup } = result
  const isOurs = engine === 'hmar'
  return [
    `${name}: ${formatTime(time.median)}`,
    floor && `${(time.median / floor).toFixed(2)}× its floor`,
    isOurs && speedup && `${speedup.toFixed(2)}× PyTorch's speed`,
    isOurs && graphSpeedup && `${graphSpeedup.toFixed(2)}× its speed in one graph`,
  ]
    .filter(Boolean)
    .join(', ')
}

const describeOpening = ({ model, read, firstPicture }: Opening) =>
  `${model} from its files to the first picture: ${formatTime(firstPicture.median)}; reading them once: ${formatTime(read.median)}`
