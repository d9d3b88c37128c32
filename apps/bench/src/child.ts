import { HmarSampler } from '@hmar/sampler'
import { Schedule } from '@hmar/scheduler'

import type { BenchCase } from './cases.js'
import type { Setting } from './measure.js'
import type { Measurement, ModelFacts } from './measurement.js'

/** Loads the model, generates and prints a measurement as JSON: the bench's other half, in a process of its own. */
async function measureHere({
  folder,
  threads,
  warmup,
  repeats,
  dtype,
  batch,
}: Setting & BenchCase): Promise<Measurement> {
  const started = performance.now()
  await using sampler = await HmarSampler.load({
    model: folder,
    device: 'cpu',
    dtype,
    threads,
  })
  const loadMilliseconds = performance.now() - started
  const { classes } = sampler.model.config
  const labels = Array.from({ length: batch }, () => Math.min(207, Math.floor(classes / 3)))

  const milliseconds = []
  const decodeMilliseconds = []
  const passMilliseconds = []
  let tokens = 0
  for (let i = 0; i < warmup + repeats; i++) {
    const begun = performance.now()
    const { timings, tokens: maps } = await sampler.generate({ labels, seed: 0 })
    const took = performance.now() - begun
    if (i < warmup) continue
    milliseconds.push(took)
    decodeMilliseconds.push(timings.decodeMs)
    passMilliseconds.push(timings.passMs)
    tokens = maps.reduce((sum, { scales }) => sum + scales.reduce((all, scale) => all + scale.length, 0), 0)
  }
  return {
    milliseconds,
    decodeMilliseconds,
    passMilliseconds,
    loadMilliseconds,
    passes: passMilliseconds[0]!.length,
    tokens,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
    facts: describeModel(sampler, dtype, batch),
  }
}

function describeModel(
  { model, tokenizer }: HmarSampler,
  dtype: BenchCase['dtype'],
  images: number,
): ModelFacts {
  const schedule = Schedule.default(model.config)
  const cost = schedule.cost(model.config, { images, labels: 1, dtype, tokenizer: tokenizer.config })
  const decodeFlops = cost.decoder?.flops ?? 0
  return {
    plan: schedule.compile().passes.map(({ kind, scale }) => ({ kind, scale })),
    passFlops: cost.flops - decodeFlops,
    decodeFlops,
    weightBytes: model.weightBytes + tokenizer.weightBytes,
  }
}

console.log(JSON.stringify(await measureHere(JSON.parse(process.argv[2]!))))
