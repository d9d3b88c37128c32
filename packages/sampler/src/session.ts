import {
  checkInteger,
  checkSeed,
  HmarError,
  HmarRangeError,
  type ModelConfig,
  pyramidTokens,
  resolveLabel,
  type TokenMaps,
  unflattenTokens,
} from '@hmar/core'
import type { Label } from '@hmar/model'
import { callNative, Resource, withCancellation } from '@hmar/native'
import type { CancelToken, NativeSession, NativeSessionState } from '@hmar/native/binding'
import type { Pass, Plan, Schedule } from '@hmar/scheduler'
import { type HmarImage, splitImages } from '@hmar/tokenizer'

import { type Checked, changeOptions } from './sample-options.js'
import { describeSession } from './saved-session.js'
import { SerialQueue } from './serial-queue.js'
import { join, split } from './split.js'

/** One image's tokens at the scale of a pass, `[p²]` each, row-major. */
export interface ScaleState {
  readonly tokens: Int32Array
  /** The probability with which each token was drawn, after filters; infinite where editing keeps it. */
  readonly confidence: Float32Array
  /** 1 where the pass drew a token; or, after `openPositions`, where the next one will. */
  readonly open: Uint8Array
}

/** A pass that is done. */
export interface PassDone {
  readonly pass: Pass
  /** Its index in the plan. */
  readonly index: number
  /** What it left of its scale, for each image. */
  readonly images: readonly ScaleState[]
}

/** What a session ends with. */
export interface SessionResult {
  readonly images: readonly HmarImage[]
  readonly tokens: readonly TokenMaps[]
}

/** How to run a call. */
export interface CallOptions {
  /** Aborting it rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined
}

/** What a copy does otherwise than its original from here on. */
export interface ForkOptions extends CallOptions {
  readonly seed?: number | bigint | undefined
  /** As many as there are images. */
  readonly labels?: readonly Label[] | undefined
  /** The number of the first image, 0 to 2³² − 1. */
  readonly firstImage?: number | undefined
  /** Another schedule, where a scale has just been finished, or none begun. */
  readonly schedule?: Schedule | undefined
}

/**
 * Where sessions come from.
 *
 * @internal
 */
export interface SessionHost {
  readonly config: ModelConfig
  /** Pixels along a side of a picture. */
  readonly side: number
  /** Goes on from saved bytes. */
  resume(
    checked: Checked,
    saved: Uint8Array,
    next: number | undefined,
    options: CallOptions,
  ): Promise<Session>
}

/**
 * A batch of images on its way through a plan, stopped between two passes: what they left can be read, changed, copied and
 * saved. Comes from `sampler.open()`, and makes the images that `sampler.generate()` makes. Calls run one after another.
 */
export class Session extends Resource {
  /** How it samples. */
  readonly schedule: Schedule
  /** The passes it runs. */
  readonly plan: Plan
  readonly #checked: Checked
  readonly #native: NativeSession
  readonly #host: SessionHost
  readonly #queue = new SerialQueue()
  #state: NativeSessionState
  /** The last pass's logits, while a function has still to choose positions by them. */
  #toChooseBy: Float32Array | undefined

  /** @internal Sessions come from `sampler.open()`. */
  constructor(native: NativeSession, checked: Checked, host: SessionHost) {
    super()
    this.#native = native
    this.#checked = checked
    this.#host = host
    this.#state = callNative(() => native.state())
    this.schedule = checked.schedule
    this.plan = checked.plan
  }

  /** How many images it makes. */
  get count(): number {
    return this.#checked.request.labels.length
  }

  /** Index of the pass that comes next; the number of passes when all are done. */
  get next(): number {
    return this.#state.next
  }

  /** Whether all passes are done. */
  get done(): boolean {
    return this.next === this.plan.passes.length
  }

  /** The pass done last, and what it left; undefined before the first. */
  get last(): PassDone | undefined {
    const index = this.next - 1
    const pass = this.plan.passes[index]
    return pass && { pass, index, images: this.#images() }
  }

  /**
   * The tokens of all scales so far, for each image; 0 at scales to come.
   *
   * @throws {HmarError} `CLOSED`
   */
  get tokens(): readonly TokenMaps[] {
    this.assertOpen()
    const { pyramid } = this.plan
    const flat = callNative(() => this.#native.tokens())
    return split(flat, pyramidTokens(pyramid)).map((tokens) => unflattenTokens(tokens, pyramid))
  }

  /**
   * Runs the next pass. Where its schedule has a function that chooses positions, it is called after it.
   *
   * @throws {HmarRangeError} when all passes are done
   * @throws `signal.reason`; a pass that had begun is done nevertheless, as {@link next} says
   * @throws what the function throws; the pass is done, and the next step begins by calling it again
   */
  step({ signal }: CallOptions = {}): Promise<PassDone> {
    return this.#alone(signal, async () => {
      await this.#choosePositions()
      const index = this.next
      const byFunction = this.plan.passes[index]?.positions?.kind === 'custom'
      await withCancellation({ signal }, async (token) => {
        const logits = byFunction ? await this.#native.logits(token) : undefined
        this.#state = await this.#native.step(token)
        this.#toChooseBy = logits
      })
      await this.#choosePositions()
      return this.last!
    })
  }

  /** Runs all passes that are left, and decodes. */
  async finish(options: CallOptions = {}): Promise<SessionResult> {
    while (!this.done) await this.step(options)
    return { images: await this.pictures(options), tokens: this.tokens }
  }

  /**
   * The guided logits that the next pass will draw from, before temperature and filters: `[p², V]` for each image. NaN
   * where editing keeps a whole scale.
   *
   * @throws {HmarRangeError} when all passes are done
   */
  async logits({ signal }: CallOptions = {}): Promise<readonly Float32Array[]> {
    const logits = await this.#inTurn(signal, (token) => this.#native.logits(token))
    return split(logits, logits.length / this.count)
  }

  /**
   * Puts other tokens in the place of those that the last pass left, `[p²]` for each image, and other confidences where
   * given. Later passes see them, and a scale that is finished is decoded from them.
   *
   * @throws {HmarRangeError} before the first pass, for other than p² tokens of the codebook, for confidences outside
   *   [0, 1], and for another token where editing keeps the source's
   */
  async replaceTokens(tokens: readonly Int32Array[], confidence?: readonly Float32Array[]): Promise<void> {
    const flat = join(Int32Array, this.#oneEach('tokens', tokens))
    const flatConfidence = confidence && join(Float32Array, this.#oneEach('confidences', confidence))
    await this.#inTurn(undefined, async () => {
      this.#state = await this.#native.replaceTokens(flat, flatConfidence)
    })
  }

  /**
   * Chooses what the next pass, a masked one, draws anew: 1 for each such position, `[p²]` for each image.
   *
   * @throws {HmarRangeError} if the next pass is not masked, for other than p² values of 0 and 1, and where editing keeps
   */
  async openPositions(open: readonly Uint8Array[]): Promise<void> {
    const flat = join(Uint8Array, this.#oneEach('positions', open))
    await this.#inTurn(undefined, async () => {
      this.#state = await this.#native.openPositions(flat)
      this.#toChooseBy = undefined
    })
  }

  /** What the finished scales show, for each image: gray before the first. */
  async pictures({ signal }: CallOptions = {}): Promise<readonly HmarImage[]> {
    const pixels = await this.#inTurn(signal, (token) => this.#native.pictures(token))
    return splitImages(pixels, this.#host.side)
  }

  /**
   * Another session that goes on from here, in its own way where asked to; this one stays as it is.
   *
   * @throws {HmarRangeError} if an option is out of its range
   * @throws {HmarError} `SCHEDULE_INVALID` for another schedule in the middle of a scale, or one that does not fit
   */
  async fork({ seed, labels, firstImage, schedule, signal }: ForkOptions = {}): Promise<Session> {
    const { config } = this.#host
    if (labels && labels.length !== this.count)
      throw new HmarRangeError('The labels do not fit the session.', {
        found: `${labels.length} labels`,
        expected: `${this.count}, one for each image`,
      })
    const changes = {
      seed: seed === undefined ? undefined : checkSeed(seed),
      labels: labels && Array.from(labels, (label) => resolveLabel(label, config)),
      firstImage:
        firstImage === undefined
          ? undefined
          : checkInteger('The first image', firstImage, 0, 2 ** 32 - this.count),
    }
    const checked = changeOptions(this.#checked, { ...changes, schedule }, config)
    const next = schedule && placeIn(checked.plan, this.plan, this.next)
    return this.#host.resume(checked, await this.save(), next, { signal })
  }

  /** Everything that is needed to go on, weights aside, for `sampler.restore()`: a `.safetensors` file. */
  async save(): Promise<Uint8Array> {
    const description = describeSession(this.#checked, this.#host.config)
    return this.#inTurn(undefined, () => this.#native.save(description))
  }

  protected override release(): void {
    this.#native.close()
  }

  #alone<Result>(signal: AbortSignal | undefined, work: () => Promise<Result>): Promise<Result> {
    return this.whileOpen(() => this.#queue.run(signal, work))
  }

  #inTurn<Result>(
    signal: AbortSignal | undefined,
    work: (token: CancelToken) => Promise<Result>,
  ): Promise<Result> {
    return this.#alone(signal, () => withCancellation({ signal }, work))
  }

  /** By the caller's function, where the last pass asks for it and it has not been done. */
  async #choosePositions(): Promise<void> {
    const logits = this.#toChooseBy
    if (logits === undefined) return
    const index = this.next - 1
    const pass = this.plan.passes[index]!
    const { seed, firstImage } = this.#checked.request
    const each = split(logits, logits.length / this.count)
    const open = this.#images().map((state, image) =>
      this.plan.openAfter({ ...state, pass, index, seed, image: firstImage + image, logits: each[image]! }),
    )
    await withCancellation({}, async () => {
      this.#state = await this.#native.openPositions(join(Uint8Array, open))
    })
    this.#toChooseBy = undefined
  }

  #images(): ScaleState[] {
    const { tokens, confidence, open } = this.#state
    const length = tokens.length / this.count
    const [confidences, opens] = [split(confidence, length), split(open, length)]
    return split(tokens, length).map((tokens, image) => ({
      tokens,
      confidence: confidences[image]!,
      open: opens[image]!,
    }))
  }

  /** A list with an array of the scale's length for each image. */
  #oneEach<Values extends ArrayLike<number>>(what: string, lists: readonly Values[]): readonly Values[] {
    const length = this.#state.tokens.length / this.count
    if (lists.length === this.count && lists.every((values) => values.length === length)) return lists
    throw new HmarRangeError(`The ${what} do not fit the scale.`, {
      found: `lengths ${lists.map((values) => values.length).join(', ')}`,
      expected: `${this.count} arrays of ${length}, one for each image`,
    })
  }
}

/** The pass of another plan before which a session that is before pass `next` of `from` goes on. */
function placeIn(plan: Plan, from: Plan, next: number): number {
  const upcoming = from.passes[next]
  if (upcoming === undefined) return plan.passes.length
  if (upcoming.kind === 'next-scale')
    return plan.passes.findIndex(({ kind, scale }) => kind === 'next-scale' && scale === upcoming.scale)
  throw new HmarError('SCHEDULE_INVALID', 'The schedule cannot change in the middle of a scale.', {
    found: `pass ${next}, a masked one of scale ${upcoming.scale}`,
    remedy: 'Step on until the scale is finished, or fork with the same schedule.',
  })
}
