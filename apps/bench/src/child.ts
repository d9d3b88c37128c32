import { HmarError } from '@hmar/core'
import { HmarSampler } from '@hmar/sampler'
import { Schedule } from '@hmar/scheduler'

import { floorOf, peakOf } from './floor.js'
import type { ChildSetting } from './hmar-process.js'
import type { Measurement, ModelFacts, Skipped } from './measurement.js'

/** Operations that are kept of a profile. */
const mostOperations = 40

/**
 * Loads the model, generates, and prints a line of JSON for each batch: the bench's other half, in a process of its own.
 */
async function measureHere(setting: ChildSetting): Promise<void> {
  const { folder, device, dtype, threads } = setting
  const started = performance.now()
  await using sampler = await HmarSampler.load({ model: folder, device, dtype, threads })
  const loadMilliseconds = performance.now() - started
  for (const batch of setting.batches) {
    const found = await measureBatch(sampler, batch, setting).catch(outOfMemory)
    console.log(JSON.stringify({ ...found, loadMilliseconds }))
  }
}

async function measureBatch(
  sampler: HmarSampler,
  batch: number,
  { warmup, repeats, dtype, gpu }: ChildSetting,
): Promise<Measurement> {
  const { classes, pyramid } = sampler.model.config
  // Other labels each time: what depends on them is not kept from generation to generation.
  const request = (run: number) => ({
    labels: Array.from({ length: batch }, (_, image) => (37 * image + 101 * run) % classes),
    seed: run,
    batchSize: batch,
  })
  sampler.restartPeakMemory()
  const runs: { host: number; timings: Awaited<ReturnType<HmarSampler['generate']>>['timings'] }[] = []
  for (let run = 0; run < warmup + repeats; run++) {
    const begun = performance.now()
    const { timings } = await sampler.generate(request(run))
    if (run >= warmup) runs.push({ host: performance.now() - begun, timings })
  }
  const peakMemoryBytes = sampler.deviceMemory?.peakBytes ?? process.resourceUsage().maxRSS * 1024
  const operations = await sampler.profile(request(warmup + repeats))
  const onDevice = runs[0]?.timings.deviceMs !== undefined
  return {
    milliseconds: runs.map(({ host, timings }) => timings.deviceMs ?? host),
    ...(onDevice && { hostMilliseconds: runs.map(({ host }) => host) }),
    decodeMilliseconds: runs.map(({ timings }) => timings.decodeMs),
    passMilliseconds: runs.map(({ timings }) => timings.passMs),
    passes: runs[0]!.timings.passMs.length,
    tokens: batch * pyramid.reduce((sum, side) => sum + side ** 2, 0),
    peakMemoryBytes,
    weightBytes: sampler.model.weightBytes + sampler.tokenizer.weightBytes,
    ...(operations.length > 0 && { operations: operations.slice(0, mostOperations) }),
    facts: describeModel(sampler, dtype, batch, gpu),
  }
}

function describeModel(
  { model, tokenizer }: HmarSampler,
  dtype: ChildSetting['dtype'],
  images: number,
  gpu: string | undefined,
): ModelFacts {
  const schedule = Schedule.default(model.config)
  const cost = schedule.cost(model.config, { images, dtype, tokenizer: tokenizer.config })
  const decodeFlops = cost.decoder?.flops ?? 0
  const peak = gpu === undefined ? undefined : peakOf(gpu)
  return {
    plan: schedule.compile().passes.map(({ kind, scale }) => ({ kind, scale })),
    passFlops: cost.flops - decodeFlops,
    decodeFlops,
    ...(peak && { floor: floorOf(cost, model.config, peak) }),
  }
}

function outOfMemory(error: unknown): Skipped {
  if (HmarError.isInstance(error) && error.code === 'OUT_OF_MEMORY') return { skipped: error.message }
  throw error
}

await measureHere(JSON.parse(process.argv[2]!))
