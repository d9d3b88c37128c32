import {
  checkInteger,
  checkOptions,
  checkPyramid,
  flattenTokens,
  HmarRangeError,
  type Pyramid,
  parseTokenizerConfig,
  type TokenizerConfig,
  type TokenMaps,
  unflattenTokens,
} from '@hmar/core'
import {
  findTokenizerFile,
  type LoadOptions,
  loadNative,
  loadOptionsShape,
  Resource,
  withCancellation,
} from '@hmar/native'
import { binding, type NativeTokenizer } from '@hmar/native/binding'
import { z } from 'zod'

import { HmarImage } from './image.js'
import { encoderPixels, type Picture } from './pixels.js'
import { pyramidOfSide, pyramidOfTokens } from './pyramid.js'

/** What to load, and how. */
export interface TokenizerLoadOptions extends LoadOptions {
  /** A `.pth` or `.safetensors` file, the folder it is in, or `'vae_ch160v4096z32'` where `hmar pull` has fetched it. */
  readonly path: string
  /**
   * Sides of the token maps, coarse to fine. Defaults to what the JSON beside the file says, else to the pyramid of the
   * released models for the picture's side (256, 512 or 1024).
   */
  readonly pyramid?: readonly number[] | undefined
}

/** What a tokenizer takes of its device, in bytes. */
export interface TokenizerMemory {
  readonly weightBytes: number
  /**
   * Activations, which are kept from call to call: they grow with the pictures worked on at once. On a GPU what samplers
   * generate is decoded in buffers of theirs.
   */
  readonly workingBytes: number
}

/** How to run a call. */
export interface CallOptions {
  /** Aborting it rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined
}

const loadSchema = z.object({
  ...loadOptionsShape,
  path: z.string(),
  pyramid: z.array(z.number()).optional(),
})

/** Turns pictures into token maps and back: the multi-scale residual VQ-VAE (§2). */
export class Tokenizer extends Resource {
  readonly #native: NativeTokenizer
  /** The file it was loaded from. */
  readonly path: string
  /** What the file holds. */
  readonly config: TokenizerConfig
  /** Sides of the token maps; undefined while only a picture's side can tell. */
  readonly pyramid: Pyramid | undefined

  private constructor(
    native: NativeTokenizer,
    path: string,
    config: TokenizerConfig,
    pyramid: Pyramid | undefined,
  ) {
    super()
    this.#native = native
    this.path = path
    this.config = config
    this.pyramid = pyramid
  }

  /**
   * Loads a tokenizer.
   *
   * @throws {HmarRangeError} if an option is of the wrong kind
   * @throws {HmarError} `FILE_UNREADABLE`, `NOT_A_CHECKPOINT`, `CHECKPOINT_CORRUPT`, `TENSOR_MISMATCH` and the like if
   *   the file is not a usable tokenizer; `CONFIG_INVALID` for a list that is no pyramid; `DEVICE_UNAVAILABLE`
   */
  static async load(options: TokenizerLoadOptions): Promise<Tokenizer> {
    const { path, pyramid, ...loading } = checkOptions('Tokenizer.load', loadSchema, options)
    const wanted = pyramid && checkPyramid(pyramid)
    const file = await findTokenizerFile(path)
    const native = await loadNative('tokenizer', loading, (how, token, onProgress) =>
      binding().NativeTokenizer.load({ ...how, path: file }, token, onProgress),
    )
    const config = parseTokenizerConfig(native.configJson())
    return new Tokenizer(native, file, config, wanted ?? config.pyramid)
  }

  /** Pixels along a side of its pictures; undefined while the pyramid is. */
  get side(): number | undefined {
    return this.pyramid && this.#sideOf(this.pyramid)
  }

  /** The native handle, for samplers. @internal */
  get native(): NativeTokenizer {
    return this.#native
  }

  /** Bytes that the weights take. */
  get weightBytes(): number {
    return this.#native.weightBytes()
  }

  /**
   * What it takes of its device now.
   *
   * @throws {HmarError} `CLOSED`
   */
  memory(): TokenizerMemory {
    this.assertOpen()
    return { weightBytes: this.#native.weightBytes(), workingBytes: this.#native.workingBytes() }
  }

  /**
   * Encodes a picture.
   *
   * @returns the tokens of each scale; nothing of the picture is kept
   * @throws {HmarError} `IMAGE_INVALID` for a picture of another size or form
   */
  async encode(picture: Picture, { signal }: CallOptions = {}): Promise<TokenMaps> {
    const pyramid = this.pyramid ?? pyramidOfSide(picture.width)
    const pixels = encoderPixels(picture, this.#sideOf(pyramid))
    const tokens = await this.whileOpen(() =>
      withCancellation({ signal }, (token) => this.#native.encode(pixels, [...pyramid], token)),
    )
    return unflattenTokens(tokens, pyramid)
  }

  /**
   * Decodes token maps to a picture.
   *
   * @throws {HmarError} `IMAGE_INVALID` if the maps do not fit the pyramid
   * @throws {HmarRangeError} if a token is not in the codebook
   */
  async decode(tokens: TokenMaps, options: CallOptions = {}): Promise<HmarImage> {
    const [image] = await this.#decode(tokens, false, options)
    return image!
  }

  /**
   * Decodes what the scales add up to, after each of them: the last picture is that of {@link decode}.
   *
   * @throws as {@link decode}
   */
  decodeScales(tokens: TokenMaps, options: CallOptions = {}): Promise<HmarImage[]> {
    return this.#decode(tokens, true, options)
  }

  /**
   * Tokens of what lies between two pictures: what their first scales add up to, mixed and encoded anew. At weight 0 they
   * are the first's, at 1 the second's.
   *
   * @param weight - of the second, 0 to 1
   * @param scales - how many of the first scales are mixed; of the result the others are what is left to say of the
   *   mixture. Defaults to all
   * @throws {HmarError} `IMAGE_INVALID` if the maps do not fit the pyramid
   * @throws {HmarRangeError} if a token, the weight or the number of scales is out of range
   */
  async interpolate(
    first: TokenMaps,
    second: TokenMaps,
    weight: number,
    scales: number = first.scales.length,
  ): Promise<TokenMaps> {
    const pyramid = this.pyramid ?? pyramidOfTokens(first)
    const [one, other] = [first, second].map((maps) =>
      flattenTokens(maps, pyramid, this.config.codebookSize),
    ) as [Int32Array, Int32Array]
    checkInteger('The number of scales', scales, 1, pyramid.length)
    if (!(weight >= 0 && weight <= 1))
      throw new HmarRangeError('The weight is out of range.', { found: String(weight), expected: '0 to 1' })
    // An end is the picture itself: encoded anew it could differ.
    if (weight === 0 || weight === 1) return unflattenTokens(weight === 0 ? one : other, pyramid)
    const mixed = await this.whileOpen(() =>
      withCancellation({}, () => this.#native.interpolate(one, other, weight, scales, [...pyramid])),
    )
    return unflattenTokens(mixed, pyramid)
  }

  async #decode(tokens: TokenMaps, everyScale: boolean, { signal }: CallOptions): Promise<HmarImage[]> {
    const pyramid = this.pyramid ?? pyramidOfTokens(tokens)
    const flat = flattenTokens(tokens, pyramid, this.config.codebookSize)
    const pixels = await this.whileOpen(() =>
      withCancellation({ signal }, (token) => this.#native.decode(flat, [...pyramid], everyScale, token)),
    )
    return splitImages(pixels, this.#sideOf(pyramid))
  }

  #sideOf(pyramid: Pyramid): number {
    return pyramid.at(-1)! * this.config.downsample
  }

  protected override release(): void {
    this.#native.close()
  }
}

/**
 * Square pictures that lie one after another, each copied into memory of its own.
 *
 * @internal
 */
export function splitImages(pixels: Uint8Array, side: number): HmarImage[] {
  const bytes = side * side * 3
  return Array.from(
    { length: pixels.length / bytes },
    (_, index) =>
      new HmarImage({ data: pixels.slice(index * bytes, (index + 1) * bytes), width: side, height: side }),
  )
}
