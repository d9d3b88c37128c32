import {
  checkOptions,
  flattenTokens,
  HmarError,
  HmarRangeError,
  type ModelConfig,
  parseModelConfig,
  pyramidTokens,
  resolveLabel,
  type TokenMaps,
} from '@hmar/core'
import {
  type Arithmetic,
  type LoadOptions,
  loadNative,
  loadOptionsShape,
  modeSchema,
  Resource,
  resolveDevice,
  withCancellation,
} from '@hmar/native'
import { binding, type NativeLogitsRequest, type NativeModel } from '@hmar/native/binding'
import { z } from 'zod'

import { findModelFiles, type ModelFiles, type ModelPath } from './model-files.js'
import { type Score, scoreLogits } from './score.js'

/** What to load, and how. */
export interface ModelLoadOptions extends LoadOptions {
  /**
   * A `.pth` or `.safetensors` file; the folder it is in; `'shapes'`, the embedded model, where `@hmar/shapes` is
   * installed; released weights that `hmar pull` has fetched, such as `'hmar-d16'`; or the files of a next-scale training
   * and of the masked one finetuned from it, to be combined.
   */
  readonly path: ModelPath
  /**
   * The tokenizer's file, folder or name: the model needs its codebook. Defaults to what the JSON beside the model names,
   * else to `tokenizer.safetensors`, `vae_ch160v4096z32.{safetensors,pth}` or `vae.{safetensors,pth}` beside it; for
   * released weights given by name, to `'vae_ch160v4096z32'`.
   */
  readonly tokenizer?: string | undefined
  /**
   * A JSON file that says what the shapes of tensors cannot. Defaults to `config.json` beside the model, else to what
   * the model's own metadata says.
   */
  readonly config?: string | undefined
  /** Which of the two it is, where the file does not tell. Defaults to what the file tells. */
  readonly mode?: 'next-scale' | 'var' | undefined
}

/** A label: its index, its name in any case, or null for the unconditional class, as is the index after the last. */
export type Label = number | string | null

/** What to compute logits of, teacher-forced: every scale sees the given tokens of those before it. */
export interface LogitsRequest {
  readonly tokens: TokenMaps
  readonly label: Label
  /** Which branch: next-scale prediction (§3.1), or masked refinement with some positions masked. */
  readonly pass: 'next-scale' | 'masked'
  /** For a masked pass, the positions in the whole pyramid, from 0, that are masked. Position 0 never is. */
  readonly maskedPositions?: Int32Array | readonly number[] | undefined
}

/** What to score. */
export interface ScoreRequest extends Omit<LogitsRequest, 'pass'> {
  /** Defaults to `'next-scale'`. A masked pass is scored at the masked positions. */
  readonly pass?: LogitsRequest['pass'] | undefined
}

/** What a model takes of its device, in bytes. */
export interface ModelMemory {
  readonly weightBytes: number
  /**
   * Buffers of all samplers and sessions over it: they grow with the number of images made at once. On a GPU a sampler
   * decodes in the same memory.
   */
  readonly batchBytes: number
}

/** Where a model computes, and in what. */
export interface ModelArithmetic {
  /** `cpu`, `cuda` or `cuda:1`. */
  readonly device: string
  readonly dtype: Arithmetic
  readonly batchInvariant: boolean
}

/** How to run a call. */
export interface CallOptions {
  /** Aborting it rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined
}

const loadSchema = z.object({
  ...loadOptionsShape,
  path: z.union([z.string(), z.tuple([z.string(), z.string()])]),
  tokenizer: z.string().optional(),
  config: z.string().optional(),
  mode: modeSchema.optional(),
})

/** The transformer (§3). */
export class HmarModel extends Resource {
  readonly #native: NativeModel
  /** `shapes`, or what its files are called. */
  readonly name: string
  /** Where it computes, and in what. */
  readonly arithmetic: ModelArithmetic
  /** What the file holds, with the names and sampling that the JSON beside it adds. */
  readonly config: ModelConfig
  /** The file that it came from, or the two that were combined. */
  readonly paths: readonly string[]
  /** The file that the codebook came from. */
  readonly tokenizerPath: string

  private constructor(
    native: NativeModel,
    config: ModelConfig,
    arithmetic: ModelArithmetic,
    { name, paths, tokenizer }: ModelFiles,
  ) {
    super()
    this.name = name
    this.arithmetic = arithmetic
    this.#native = native
    this.config = config
    this.paths = paths
    this.tokenizerPath = tokenizer
  }

  /**
   * Loads a model.
   *
   * @throws {HmarRangeError} if an option is of the wrong kind
   * @throws {HmarError} `PACKAGE_MISSING`, `FILE_UNREADABLE`, `NOT_A_CHECKPOINT`, `CHECKPOINT_CORRUPT`,
   *   `TENSOR_MISMATCH` and the like if there is no usable model; `CONFIG_AMBIGUOUS` if the file does not tell what it
   *   is; `DEVICE_UNAVAILABLE`
   */
  static async load(options: ModelLoadOptions): Promise<HmarModel> {
    const { path, tokenizer, config, mode, ...loading } = checkOptions('HmarModel.load', loadSchema, options)
    const files = await findModelFiles({ path, tokenizer, config })
    const device = resolveDevice(loading.device)
    const { dtype, batchInvariant } = loading
    const native = await loadNative('model', loading, (how, token, onProgress) =>
      binding().NativeModel.load(
        {
          ...how,
          paths: files.paths,
          quantizer: files.tokenizer,
          config: files.config,
          mode: mode ?? files.mode,
        },
        token,
        onProgress,
      ),
    )
    const found = parseModelConfig(native.configJson())
    if (found.labels && found.labels.length !== found.classes) {
      native.close()
      throw new HmarError('CONFIG_INVALID', 'The labels do not fit the model.', {
        found: `${found.labels.length} labels`,
        expected: `${found.classes}, one for each class`,
      })
    }
    return new HmarModel(native, found, { device, dtype, batchInvariant }, files)
  }

  /** The native handle, for samplers. @internal */
  get native(): NativeModel {
    return this.#native
  }

  /**
   * A digest that tells its weights from those of other trained models, 64 hexadecimal digits: of the classes' embeddings and
   * the codebook. It is the same on every device, and for every file of the same numbers.
   *
   * @throws {HmarError} `CLOSED`
   */
  fingerprint(): Promise<string> {
    return this.whileOpen(() => withCancellation({}, () => this.#native.fingerprint()))
  }

  /** Bytes that the weights take. */
  get weightBytes(): number {
    return this.#native.weightBytes()
  }

  /**
   * What it takes of its device now. Samplers and sessions share its weights; each has buffers of its own.
   *
   * @throws {HmarError} `CLOSED`
   */
  memory(): ModelMemory {
    this.assertOpen()
    return { weightBytes: this.#native.weightBytes(), batchBytes: this.#native.batchBytes() }
  }

  /**
   * Teacher-forced logits, before guidance.
   *
   * @returns `[N, V]`, row-major: a row for each of the Σp² positions. After a masked pass those of scale 1 are NaN.
   * @throws {HmarRangeError} if the label, a token or a masked position is out of range, or the model has no such branch
   * @throws {HmarError} `IMAGE_INVALID` if the tokens do not fit the pyramid
   */
  async logits(request: LogitsRequest, options: CallOptions = {}): Promise<Float32Array> {
    return this.#logits(this.#check(request), options)
  }

  /**
   * How well the model predicts given tokens, teacher-forced.
   *
   * @throws as {@link logits}
   */
  async score({ pass = 'next-scale', ...request }: ScoreRequest, options: CallOptions = {}): Promise<Score> {
    const checked = this.#check({ ...request, pass })
    const logits = await this.#logits(checked, options)
    const masked = checked.maskedPositions && new Set(checked.maskedPositions)
    return scoreLogits(
      logits,
      checked.tokens,
      this.config.pyramid,
      (position) => masked?.has(position) ?? true,
    )
  }

  #logits(request: NativeLogitsRequest, { signal }: CallOptions): Promise<Float32Array> {
    return this.whileOpen(() => withCancellation({ signal }, (token) => this.#native.logits(request, token)))
  }

  #check({ tokens, label, pass, maskedPositions }: LogitsRequest): NativeLogitsRequest {
    const { pyramid, codebookSize, classes, layout } = this.config
    const checked = {
      tokens: flattenTokens(tokens, pyramid, codebookSize),
      label: label === classes ? classes : resolveLabel(label, this.config),
      pass,
    }
    if (pass === 'next-scale') return checked
    if (pass !== 'masked')
      throw new HmarRangeError('There is no such pass.', {
        found: String(pass),
        expected: "'next-scale' or 'masked'",
      })
    if (layout !== 'combined')
      throw new HmarRangeError('This model cannot run masked passes.', {
        found: `a ${layout} model`,
        expected: 'HMAR',
      })
    if (!maskedPositions) throw new HmarRangeError('A masked pass needs the positions that are masked.')
    return { ...checked, maskedPositions: checkPositions(maskedPositions, pyramidTokens(pyramid)) }
  }

  protected override release(): void {
    this.#native.close()
  }
}

function checkPositions(positions: Int32Array | readonly number[], tokens: number): Int32Array {
  for (const position of positions)
    if (!(Number.isInteger(position) && position >= 0 && position < tokens))
      throw new HmarRangeError('A masked position is out of range.', {
        found: String(position),
        expected: `a whole number from 0 to ${tokens - 1}`,
      })
  return Int32Array.from(positions).filter((position) => position > 0)
}
