import { HmarSampler } from '@hmar/sampler'

import { floorOf, peakOf } from '../floor.js'
import type { CompareCase } from './comparison.js'
import type { ChildSetting } from './measure.js'
import { scheduleOf } from './schedules.js'

/** Loads HMAR and VAR, lets them generate in turn, and prints a line of JSON for each case. */
async function compareHere({ folders, batches, ...setting }: ChildSetting): Promise<void> {
  const { device, dtype, threads } = setting
  const load = (model: string) => HmarSampler.load({ model, device, dtype, threads })
  await using hmar = await load(folders.hmar)
  await using other = await load(folders.var)
  for (const batch of batches) {
    const pair = [new Runner('hmar', hmar, batch), new Runner('var', other, batch)]
    for (const runner of pair) for (let run = 0; run < setting.warmup; run++) await runner.generate(run)
    for (const runner of pair) runner.forget()
    for (let run = 0; run < setting.repeats; run++)
      for (const runner of pair) await runner.generate(setting.warmup + run)
    for (const runner of pair) console.log(JSON.stringify(await runner.found(setting)))
  }
}

/** Generates batches, and keeps what they took. */
class Runner {
  readonly #times = {
    milliseconds: [] as number[],
    passMilliseconds: [] as number[],
    decodeMilliseconds: [] as number[],
  }

  constructor(
    readonly layout: CompareCase['layout'],
    readonly sampler: HmarSampler,
    readonly batch: number,
  ) {}

  async generate(run: number): Promise<void> {
    const { classes } = this.sampler.model.config
    // Other labels each time: what depends on them is not kept from generation to generation.
    const labels = Array.from({ length: this.batch }, (_, image) => (37 * image + 101 * run) % classes)
    const schedule = scheduleOf(this.sampler.model.config)
    const begun = performance.now()
    const { timings } = await this.sampler.generate({ labels, schedule, seed: run, batchSize: this.batch })
    const host = performance.now() - begun
    this.#times.milliseconds.push(timings.deviceMs ?? host)
    this.#times.passMilliseconds.push(timings.passMs.reduce((sum, pass) => sum + pass, 0))
    this.#times.decodeMilliseconds.push(timings.decodeMs)
  }

  /** What came before was warming up. */
  forget(): void {
    for (const times of Object.values(this.#times)) times.length = 0
  }

  async found({ dtype, gpu }: Pick<ChildSetting, 'dtype' | 'gpu'>): Promise<CompareCase> {
    const { model, tokenizer, side } = this.sampler
    const peak = gpu === undefined ? undefined : peakOf(gpu)
    const options = { images: this.batch, dtype, tokenizer: tokenizer.config }
    const floor = peak && floorOf(scheduleOf(model.config).cost(model.config, options), model.config, peak)
    return {
      layout: this.layout,
      depth: model.config.depth,
      resolution: side,
      batch: this.batch,
      ...this.#times,
      ...(floor && { floor: floor.total, decodeFloor: floor.decoding }),
      weightBytes: model.weightBytes + tokenizer.weightBytes,
      ...(await this.#bytes()),
    }
  }

  /** Of the passes' buffers, which are a session's, and of what decoding takes beyond them. */
  async #bytes(): Promise<Pick<CompareCase, 'passBytes' | 'decodeBytes'>> {
    const { model, tokenizer } = this.sampler
    const whole = model.memory().batchBytes + tokenizer.memory().workingBytes
    const before = model.memory().batchBytes
    await using _session = await this.sampler.open({ labels: Array(this.batch).fill(0) })
    const passBytes = model.memory().batchBytes - before
    return { passBytes, decodeBytes: whole - passBytes }
  }
}

await compareHere(JSON.parse(process.argv[2]!))
