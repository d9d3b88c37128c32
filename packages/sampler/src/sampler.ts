import { checkInteger, checkOptions, HmarError, parseRecipe, type Recipe, type TokenMaps } from '@hmar/core'
import { HmarModel } from '@hmar/model'
import { callNative, Resource, withCancellation } from '@hmar/native'
import {
  binding,
  type CancelToken,
  type NativeGenerateEvent,
  type NativeSampler,
  type NativeSession,
} from '@hmar/native/binding'
import { Schedule, type ScorePositions } from '@hmar/scheduler'
import { type HmarImage, Tokenizer } from '@hmar/tokenizer'

import { composite } from './composite.js'
import type { DeviceMemory, OperationTime } from './device-use.js'
import {
  checkSource,
  type EditOptions,
  type EditResult,
  type InterpolateOptions,
  keptPixelsOf,
  type Source,
  tokensOf,
  type VaryOptions,
} from './edit.js'
import { keepMaskSchema } from './keep-mask.js'
import { checkFit, isModel, isTokenizer, loadSchema, type SamplerLoadOptions } from './load-options.js'
import { describeProgress, type GenerateProgress, progressOf } from './progress.js'
import { checkWeights, digestOf, keepOf, type Making, recipeOf } from './recipe.js'
import { type GenerateResult, splitResult } from './result.js'
import {
  type Checked,
  checkGenerateOptions,
  checkSampleOptions,
  checkSessionOptions,
  type GenerateOptions,
  type Keep,
  type SampleOptions,
} from './sample-options.js'
import { readDescription } from './saved-session.js'
import { SerialQueue } from './serial-queue.js'
import { type CallOptions, Session, type SessionHost } from './session.js'
import { type StreamEvent, type StreamOptions, streamBatch } from './stream.js'

/** How to open what was saved. */
export interface RestoreOptions extends CallOptions {
  /** The functions by which its schedule chooses positions, by their names. */
  readonly functions?: Readonly<Record<string, ScorePositions>> | undefined
}

/** How to make a picture again. */
export interface ReproduceOptions extends RestoreOptions {
  /** Called after every pass, and when the picture is there. What it throws ends the call. */
  readonly onProgress?: ((progress: GenerateProgress) => void) | undefined
}

/** A picture that was made again. */
export interface Reproduction {
  readonly image: HmarImage
  readonly tokens: TokenMaps
  /** Whether every pixel is as the recipe says. */
  readonly identical: boolean
}

/** Generates pictures with a model and its tokenizer (§4). */
export class HmarSampler extends Resource {
  readonly model: HmarModel
  readonly tokenizer: Tokenizer
  readonly #native: NativeSampler
  readonly #queue = new SerialQueue()
  /** How pictures were made, for as long as somebody has them. */
  readonly #makings = new WeakMap<HmarImage, Making>()

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
    return this.#inTurn(options.signal, () => this.#generate(checked, options))
  }

  /**
   * Generates an image for each label, telling what every pass leaves, what the picture shows after every scale, and
   * every image: the same ones as {@link generate} makes. It works only while its reader waits for an event: a slow one
   * holds it up, leaving the loop ends it.
   *
   * @throws as {@link generate}, at the first event
   */
  async *stream({ previews = true, ...options }: StreamOptions): AsyncGenerator<StreamEvent, void, void> {
    const checked = checkSampleOptions(options, this.model.config, this.side)
    const { labels, signal } = options
    const { batchSize, firstImage } = checked.request
    for (let first = 0; first < labels.length; first += batchSize) {
      await using session = await this.open({
        ...options,
        labels: labels.slice(first, first + batchSize),
        firstImage: firstImage + first,
      })
      const events = streamBatch({ session, firstImage: first, count: labels.length, previews, signal })
      for await (const event of events) {
        yield event.kind === 'image'
          ? { ...event, image: this.#finished(event.image, { checked, index: event.index }) }
          : event
      }
    }
  }

  /**
   * Opens a session: the images of all labels, at most 1024, are taken through the passes together, step by step.
   *
   * @throws as {@link generate}, but for schedules with functions of the caller's own, which run here
   */
  async open(options: SampleOptions): Promise<Session> {
    const checked = checkSessionOptions(options, this.model.config, this.side)
    return this.#openSession(checked, options.signal, () => this.#native.openSession(checked.request))
  }

  /**
   * Opens a session that was saved, where it was. It goes on with the same random numbers, on any device.
   *
   * @param functions - the functions of its schedule, by their names
   * @throws {HmarError} `SESSION_INVALID` for bytes that are none, or of another model; `SCHEDULE_INVALID` if a function is
   *   missing; `CLOSED`
   */
  async restore(saved: Uint8Array, { functions = {}, ...options }: RestoreOptions = {}): Promise<Session> {
    const checked = readDescription(saved, functions, this.model.config, this.side)
    return this.#resume(checked, saved, undefined, options)
  }

  /**
   * Draws a part of a picture anew (§4.3): in-painting, out-painting, and with labels class-conditional editing.
   *
   * @throws as {@link generate}; {HmarError} `IMAGE_INVALID` if the source is not of the model's size
   */
  async edit(options: EditOptions): Promise<EditResult> {
    const { source, mask, composite: _, ...rest } = options
    this.#checkBefore([source], rest)
    checkOptions('The mask', keepMaskSchema, mask)
    const keptPixels = keptPixelsOf(options, this.tokenizer)
    const tokens = await tokensOf(source, this.tokenizer, rest.signal)
    return this.#generateFrom(tokens, { mask, pixels: await keptPixels() }, rest)
  }

  /**
   * Keeps the first scales of a picture, and draws the others anew.
   *
   * @throws as {@link edit}
   */
  async vary({ source, scales, ...rest }: VaryOptions): Promise<EditResult> {
    this.#checkBefore([source], rest)
    checkInteger('The number of scales', scales, 1, this.model.config.pyramid.length)
    const tokens = await tokensOf(source, this.tokenizer, rest.signal)
    return this.#generateFrom(tokens, { scales }, rest)
  }

  /**
   * Mixes the first scales of two pictures, and draws the others.
   *
   * @throws as {@link edit}
   */
  async interpolate({ sources, weight, scales, ...rest }: InterpolateOptions): Promise<EditResult> {
    this.#checkBefore(sources, rest)
    checkInteger('The number of scales', scales, 1, this.model.config.pyramid.length)
    const [first, second] = await Promise.all(
      sources.map((source) => tokensOf(source, this.tokenizer, rest.signal)),
    )
    const mixed = await this.tokenizer.interpolate(first!, second!, weight, scales)
    return this.#generateFrom(mixed, { scales }, rest)
  }

  /**
   * Everything that a picture depends on, to be stored with it (`image.toFile(path, { recipe })`) and to make it again. For
   * pictures of `generate`, `stream`, `edit`, `vary`, `interpolate` and `reproduce`; a session may have been interfered with.
   *
   * @throws {HmarError} `RECIPE_INVALID` if none of these calls of this sampler made the picture
   */
  async recipe(image: HmarImage): Promise<Recipe> {
    const making = this.#makings.get(image)
    if (making) return recipeOf(image, making, this.model)
    throw new HmarError('RECIPE_INVALID', 'This picture has no recipe.', {
      found: 'a picture of a session, of another sampler, or of a file',
      expected: 'one that generate, stream, edit, vary, interpolate or reproduce of this sampler gave',
    })
  }

  /**
   * How a picture was made: what `generate` or `stream` need to make it again.
   *
   * @param recipe - What {@link recipe} gave, or JSON of it.
   * @param functions - Those by which its schedule chooses positions, by their names.
   * @throws {HmarError} `RECIPE_INVALID` for what is none; `WEIGHTS_MISMATCH` for another model's; `SCHEDULE_INVALID` if a
   *   function is missing; `IMAGE_INVALID` if what it keeps is no picture of the model's
   */
  async fromRecipe(recipe: unknown, functions: RestoreOptions['functions'] = {}) {
    const checked = parseRecipe(recipe)
    await checkWeights(checked, this.model)
    return {
      labels: [checked.label],
      seed: BigInt(checked.seed),
      firstImage: checked.image,
      schedule: Schedule.fromJSON(checked.schedule, functions),
      skipNegligibleGuidance: checked.skipNegligibleGuidance,
      keep: await keepOf(checked, this.model.config.pyramid, this.side),
    } satisfies SampleOptions
  }

  /**
   * Makes a picture again, and compares it. On the CPU it is the same to the last bit, whatever was made beside it; on a GPU
   * rounding may differ with the batch, unless `batchInvariant` was asked for both times.
   *
   * @throws as {@link fromRecipe}; {HmarError} `CLOSED`
   */
  async reproduce(recipe: unknown, options: ReproduceOptions = {}): Promise<Reproduction> {
    const { pixels } = parseRecipe(recipe)
    const { functions, signal, onProgress } = options
    const making = await this.fromRecipe(recipe, functions)
    for await (const event of this.stream({ ...making, previews: false, signal })) {
      if (event.kind === 'preview') continue
      onProgress?.(progressOf(event))
      if (event.kind === 'pass') continue
      const { image, tokens } = event
      return { image, tokens, identical: digestOf(image) === pixels }
    }
    throw new HmarError('INTERNAL', 'The stream ended without an image.')
  }

  /**
   * Generates once with a measurement around every operation, the costliest first: where a GPU's time goes. It takes longer
   * than generating does. Empty on the CPU, which measures passes only (`timings.passMs`).
   *
   * @throws as {@link generate}
   */
  async profile(options: GenerateOptions): Promise<readonly OperationTime[]> {
    const { request } = checkGenerateOptions(options, this.model.config, this.side)
    const { signal } = options
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

  async #generate(checked: Checked, { signal, onProgress }: GenerateOptions): Promise<GenerateResult> {
    const { plan, request } = checked
    const count = request.labels.length
    const onEvent =
      onProgress && ((event: NativeGenerateEvent) => onProgress(describeProgress(event, plan, count)))
    const result = await withCancellation({ signal, onEvent }, (token, listener) =>
      this.#native.generate(request, token, listener),
    )
    const split = splitResult(result, plan, this.side)
    return { ...split, images: split.images.map((image, index) => this.#finished(image, { checked, index })) }
  }

  /** The image with what it keeps of another one's pixels; how it was made is remembered. */
  #finished(drawn: HmarImage, making: Making): HmarImage {
    const { composited } = making.checked
    const image = composited ? composite(drawn, composited) : drawn
    this.#makings.set(image, making)
    return image
  }

  /** Everything else than the sources themselves is refused before they are encoded. */
  #checkBefore(sources: readonly Source[], options: Omit<EditOptions, 'source' | 'mask'>): void {
    sources.forEach(checkSource)
    checkGenerateOptions({ ...options, labels: options.labels ?? [null] }, this.model.config, this.side)
  }

  async #generateFrom(
    tokens: TokenMaps,
    keep: Omit<Keep, 'tokens'>,
    options: Omit<EditOptions, 'source' | 'mask'>,
  ): Promise<EditResult> {
    const { labels = [null], ...rest } = options
    const result = await this.generate({ ...rest, labels, keep: { tokens, ...keep } })
    return { ...result, source: tokens }
  }

  get #host(): SessionHost {
    const { config } = this.model
    return { config, side: this.side, resume: (...args) => this.#resume(...args) }
  }

  async #resume(
    checked: Checked,
    saved: Uint8Array,
    next: number | undefined,
    { signal }: CallOptions,
  ): Promise<Session> {
    return this.#openSession(checked, signal, (token) =>
      this.#native.resumeSession(checked.request, saved, next, token),
    )
  }

  /** Buffers of its own let a session run beside other calls. */
  #openSession(
    checked: Checked,
    signal: AbortSignal | undefined,
    open: (token: CancelToken) => Promise<NativeSession>,
  ): Promise<Session> {
    return this.whileOpen(async () => {
      const native = await withCancellation({ signal, discard: (late) => late.close() }, open)
      // A session of a sampler that was closed meanwhile has nobody to close it.
      if (this.closed) native.close()
      const session = new Session(native, checked, this.#host)
      this.adopt(session)
      return session
    })
  }

  protected override release(): void {
    this.#native.close()
  }
}
