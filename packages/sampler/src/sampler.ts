import { checkOptions, HmarError } from '@hmar/core'
import { HmarModel, type ModelLoadOptions, type ModelPath } from '@hmar/model'
import {
  callNative,
  type LoadOptions,
  loadOptionsShape,
  modeSchema,
  Resource,
  withCancellation,
} from '@hmar/native'
import { binding, type NativeGenerateEvent, type NativeSampler } from '@hmar/native/binding'
import { Tokenizer } from '@hmar/tokenizer'
import { z } from 'zod'

import type { DeviceMemory, OperationTime } from './device-use.js'
import {
  type CheckedGenerateOptions,
  checkGenerateOptions,
  type GenerateOptions,
} from './generate-options.js'
import { describeProgress } from './progress.js'
import { type GenerateResult, splitResult } from './result.js'
import { SerialQueue } from './serial-queue.js'

/** What to load, and how. Device, precision and threads are those of what is loaded here. */
export interface SamplerLoadOptions extends LoadOptions, Pick<ModelLoadOptions, 'config' | 'mode'> {
  /**
   * A model that was loaded before, which stays its owner's; or what to load: a file, a folder, `'shapes'`, or the files
   * of a next-scale and a masked training, as for `HmarModel.load`.
   */
  readonly model: ModelPath | HmarModel
  /**
   * A tokenizer that was loaded before, which stays its owner's; or its file or folder. Defaults to the one that the model
   * took its codebook from.
   */
  readonly tokenizer?: string | Tokenizer | undefined
}

const isModel = (value: unknown): value is HmarModel => value instanceof HmarModel
const isTokenizer = (value: unknown): value is Tokenizer => value instanceof Tokenizer

const loadSchema = z.object({
  ...loadOptionsShape,
  model: z.union([z.string(), z.tuple([z.string(), z.string()]), z.custom<HmarModel>(isModel)]),
  tokenizer: z.union([z.string(), z.custom<Tokenizer>(isTokenizer)]).optional(),
  config: z.string().optional(),
  mode: modeSchema.optional(),
})

/** Generates pictures with a model and its tokenizer (§4). */
export class HmarSampler extends Resource {
  readonly model: HmarModel
  readonly tokenizer: Tokenizer
  readonly #native: NativeSampler
  readonly #queue = new SerialQueue()

  private constructor(model: HmarModel, tokenizer: Tokenizer) {
    super()
    this.model = model
    this.tokenizer = tokenizer
    this.#native = callNative(() => new (binding().NativeSampler)(model.native, tokenizer.native))
  }

  /**
   * Loads what is needed to generate.
   *
   * @throws {HmarRangeError} if an option is of the wrong kind
   * @throws {HmarError} as `HmarModel.load` and `Tokenizer.load`; `CONFIG_INVALID` if model and tokenizer do not belong
   *   together; `CLOSED` if one that was given is closed
   */
  static async load(options: SamplerLoadOptions): Promise<HmarSampler> {
    const checked = checkOptions('HmarSampler.load', loadSchema, options)
    const { model: given, tokenizer: givenTokenizer, config, mode, ...loading } = checked
    const owned: Resource[] = []
    const own = async <Loaded extends Resource>(loaded: Promise<Loaded>) => {
      owned.push(await loaded)
      return loaded
    }
    try {
      const codebook = isTokenizer(givenTokenizer) ? givenTokenizer.path : givenTokenizer
      const model = isModel(given)
        ? given
        : await own(HmarModel.load({ ...loading, path: given, tokenizer: codebook, config, mode }))
      const path = codebook ?? model.tokenizerPath
      const { pyramid } = model.config
      const tokenizer = isTokenizer(givenTokenizer)
        ? givenTokenizer
        : await own(Tokenizer.load({ ...loading, path, pyramid }))
      checkFit(model, tokenizer)
      const sampler = new HmarSampler(model, tokenizer)
      // What was loaded here closes with the sampler; where it is a guest, it closes with its hosts.
      for (const part of [model, tokenizer])
        if (owned.includes(part)) sampler.adopt(part)
        else part.adopt(sampler)
      return sampler
    } catch (error) {
      await Promise.all(owned.map((resource) => resource.close()))
      throw error
    }
  }

  /** Pixels along a side of its pictures. */
  get side(): number {
    return this.model.config.pyramid.at(-1)! * this.tokenizer.config.downsample
  }

  /**
   * Generates an image for each label. Calls are worked off one after another, in their order.
   *
   * @throws {HmarRangeError} if an option is out of its range, before any work
   * @throws {HmarError} `SCHEDULE_INVALID` if the schedule does not fit the model, before any work; `CLOSED`
   */
  async generate(options: GenerateOptions): Promise<GenerateResult> {
    const checked = checkGenerateOptions(options, this.model.config, this.side)
    return this.#inTurn(checked.signal, () => this.#generate(checked))
  }

  /**
   * Generates once with a measurement around every operation, the costliest first: where a GPU's time goes. It takes longer
   * than generating does. Empty on the CPU, which measures passes only (`timings.passMs`).
   *
   * @throws as {@link generate}
   */
  async profile(options: GenerateOptions): Promise<readonly OperationTime[]> {
    const { request, signal } = checkGenerateOptions(options, this.model.config, this.side)
    return this.#inTurn(signal, () =>
      withCancellation({ signal }, (token) => this.#native.profile(request, token)),
    )
  }

  /**
   * The memory taken of the GPU; undefined on the CPU.
   *
   * @throws {HmarError} `CLOSED`
   */
  get deviceMemory(): DeviceMemory | undefined {
    this.assertOpen()
    return callNative(() => this.#native.deviceMemory()) ?? undefined
  }

  /**
   * Counts the peak of {@link deviceMemory} from now on.
   *
   * @throws {HmarError} `CLOSED`
   */
  restartPeakMemory(): void {
    this.assertOpen()
    callNative(() => this.#native.restartPeak())
  }

  /** Work that neither another call nor a `close()` comes in between. */
  #inTurn<Result>(signal: AbortSignal | undefined, work: () => Promise<Result>): Promise<Result> {
    return this.whileOpen(() =>
      this.model.whileOpen(() => this.tokenizer.whileOpen(() => this.#queue.run(signal, work))),
    )
  }

  async #generate({ plan, request, signal, onProgress }: CheckedGenerateOptions): Promise<GenerateResult> {
    const count = request.labels.length
    const onEvent =
      onProgress && ((event: NativeGenerateEvent) => onProgress(describeProgress(event, plan, count)))
    const result = await withCancellation({ signal, onEvent }, (token, listener) =>
      this.#native.generate(request, token, listener),
    )
    return splitResult(result, plan, this.side)
  }

  protected override release(): void {
    this.#native.close()
  }
}

function checkFit(model: HmarModel, tokenizer: Tokenizer): void {
  for (const part of [model, tokenizer]) part.assertOpen()
  const { codebookSize, codeDimension, pyramid } = model.config
  const differences = [
    ['codes', codebookSize, tokenizer.config.codebookSize],
    ['numbers a code', codeDimension, tokenizer.config.codeDimension],
    ['pyramid', pyramid.join(' '), (tokenizer.pyramid ?? pyramid).join(' ')],
  ].filter(([, ofModel, ofTokenizer]) => ofModel !== ofTokenizer)
  if (differences.length === 0) return
  throw new HmarError('CONFIG_INVALID', 'The tokenizer does not belong to the model.', {
    found: differences.map(([name, , ofTokenizer]) => `${name} ${ofTokenizer}`).join(', '),
    expected: differences.map(([name, ofModel]) => `${name} ${ofModel}`).join(', '),
  })
}
