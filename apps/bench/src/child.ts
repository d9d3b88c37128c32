import { join } from 'node:path'
import { HmarSampler } from '@hmar/sampler'

import type { BenchCase } from './cases.js'
import type { Setting } from './measure.js'
import type { Measurement } from './measurement.js'

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
    model: join(folder, 'model.safetensors'),
    tokenizer: join(folder, 'tokenizer.safetensors'),
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
  }
}

console.log(JSON.stringify(await measureHere(JSON.parse(process.argv[2]!))))
