import type { Pass } from '@hmar/core'

/*
 * The addon's exports as they are: the one hand-written description of kernels-rs/crates/hmar-napi.
 * Rejections are plain errors here; `withCancellation` and `callNative` turn them into typed ones.
 */

/** Precision that weights are kept and multiplied in; sums are float32 in both. */
export type Dtype = 'f32' | 'bf16'

/**
 * What a model is multiplied in: a precision, or `'fp8'`: bfloat16, but for the linear layers of the blocks, whose weights are
 * e4m3 with a scale an output and whose inputs are rounded to e4m3 with a scale a row.
 */
export type Arithmetic = Dtype | 'fp8'

/** A flag the native code polls between pieces of work. */
export interface CancelToken {
  /** Raises the flag. */
  cancel(): void
}

/** Bytes done and bytes in all. */
export type NativeProgress = (done: number, total: number) => void

export interface NativeLoadOptions {
  readonly device: string
  readonly dtype: Arithmetic
  readonly batchInvariant?: boolean | undefined
  readonly threads?: number | undefined
  readonly allowNonFinite?: boolean | undefined
}

export interface NativeTokenizer {
  configJson(): string
  /** `[3, side, side]` in [-1, 1] → Σp² tokens. */
  encode(pixels: Float32Array, pyramid: number[], token: CancelToken): Promise<Int32Array>
  /** RGB bytes `[side, side, 3]`; one picture a scale after another with `everyScale`. */
  decode(tokens: Int32Array, pyramid: number[], everyScale: boolean, token: CancelToken): Promise<Uint8Array>
  /** The tokens of two latents after so many scales, mixed and quantised. */
  interpolate(
    first: Int32Array,
    second: Int32Array,
    weight: number,
    scales: number,
    pyramid: number[],
  ): Promise<Int32Array>
  weightBytes(): number
  /** Of the activations it keeps. */
  workingBytes(): number
  close(): void
}

export interface NativeLogitsRequest {
  readonly tokens: Int32Array
  readonly label: number
  readonly pass: 'next-scale' | 'masked'
  readonly maskedPositions?: Int32Array | undefined
}

export interface NativeModel {
  configJson(): string
  /** `[N, V]` row-major. */
  logits(request: NativeLogitsRequest, token: CancelToken): Promise<Float32Array>
  /** A digest that tells its weights from those of other models: 64 hexadecimal digits. */
  fingerprint(): Promise<string>
  weightBytes(): number
  /** Of the buffers that samplers and sessions hold. */
  batchBytes(): number
  close(): void
}

export interface NativeGenerateRequest {
  readonly passes: readonly Pass[]
  /** The null class is the number of classes. */
  readonly labels: readonly number[]
  readonly seed: bigint
  readonly firstImage: number
  readonly batchSize: number
  readonly skipNegligibleGuidance: boolean
  readonly trace: boolean
  readonly keep?: NativeKeep | undefined
}

export interface NativeKeep {
  /** Σp² tokens. */
  readonly tokens: Int32Array
  /** `[S, S]`, 1 where it is kept. */
  readonly mask?: Float32Array | undefined
  /** So many of the first scales are kept whole. */
  readonly scales: number
}

export interface NativeGenerateResult {
  /** `[B, H, W, 3]`. */
  readonly pixels: Uint8Array
  /** `[B, N]`. */
  readonly tokens: Int32Array
  /** `[B, Σ p_k² over the passes]`. */
  readonly trace?: Int32Array | undefined
  readonly timings: NativeTimings
}

/** Milliseconds, summed over the batches. */
export interface NativeTimings {
  readonly conditionMs: number
  readonly passMs: readonly number[]
  readonly decodeMs: number
  readonly totalMs: number
  /** Between two events of a GPU. */
  readonly deviceMs?: number | undefined
}

/** Bytes of a GPU's memory. */
export interface NativeDeviceMemory {
  readonly currentBytes: number
  /** The most since the peak was restarted. */
  readonly peakBytes: number
}

/** Device time of all calls of one operation at one shape. */
export interface NativeProfiledOperation {
  readonly name: string
  readonly calls: number
  readonly microseconds: number
}

/** `firstImage` counts within the request. */
export type NativeGenerateEvent =
  | {
      readonly kind: 'pass'
      readonly firstImage: number
      readonly images: number
      readonly pass: number
      readonly passes: number
    }
  | { readonly kind: 'decode'; readonly firstImage: number; readonly images: number }

/** What the pass done last left; empty before the first. */
export interface NativeSessionState {
  /** The pass that comes next. */
  readonly next: number
  /** `[B, p²]`, as are the two that follow. */
  readonly tokens: Int32Array
  readonly confidence: Float32Array
  readonly open: Uint8Array
}

/** One call at a time. */
export interface NativeSession {
  state(): NativeSessionState
  step(token: CancelToken): Promise<NativeSessionState>
  /** `[B, p², V]` of the next pass. */
  logits(token: CancelToken): Promise<Float32Array>
  replaceTokens(tokens: Int32Array, confidence?: Float32Array): Promise<NativeSessionState>
  openPositions(open: Uint8Array): Promise<NativeSessionState>
  /** `[B, N]`; 0 for what is to come. */
  tokens(): Int32Array
  /** `[B, H, W, 3]` of the finished scales. */
  pictures(token: CancelToken): Promise<Uint8Array>
  save(description: string): Promise<Uint8Array>
  close(): void
}

export interface NativeSampler {
  openSession(request: NativeGenerateRequest): Promise<NativeSession>
  resumeSession(
    request: NativeGenerateRequest,
    saved: Uint8Array,
    next: number | undefined,
    token: CancelToken,
  ): Promise<NativeSession>
  generate(
    request: NativeGenerateRequest,
    token: CancelToken,
    onEvent?: (event: NativeGenerateEvent) => void,
  ): Promise<NativeGenerateResult>
  /** Null on the CPU. */
  deviceMemory(): NativeDeviceMemory | null
  restartPeak(): void
  /** Empty on the CPU. */
  profile(request: NativeGenerateRequest, token: CancelToken): Promise<NativeProfiledOperation[]>
  close(): void
}

/** Numbers in a GPU's memory. */
export interface NativeDeviceBuffer {
  /** Bits of bfloat16. */
  writeBfloat16(data: Uint16Array): Promise<void>
  /** Rounded where the buffer is bfloat16. */
  writeFloat32(data: Float32Array): Promise<void>
  read(): Promise<Float32Array>
  fill(byte: number): void
  close(): void
}

/** A point in a queue. */
export interface NativeInstant {
  millisecondsSince(earlier: NativeInstant): Promise<number>
}

export interface NativeAttentionShape {
  readonly images: number
  readonly heads: number
  readonly segments: readonly number[]
  readonly causal: boolean
}

/** Buffers are as long as their shapes: that is checked before. */
export interface NativeAttention {
  forward(
    qkv: NativeDeviceBuffer,
    factors: NativeDeviceBuffer | undefined,
    scale: number,
    out: NativeDeviceBuffer,
    lse: NativeDeviceBuffer | undefined,
  ): void
  backward(
    qkv: NativeDeviceBuffer,
    factors: NativeDeviceBuffer | undefined,
    scale: number,
    out: NativeDeviceBuffer,
    lse: NativeDeviceBuffer,
    dOut: NativeDeviceBuffer,
    dQkv: NativeDeviceBuffer,
    dFactors: NativeDeviceBuffer | undefined,
  ): void
  close(): void
}

export interface NativeQueue {
  allocate(bfloat16: boolean, length: number): NativeDeviceBuffer
  mark(): NativeInstant
  planAttention(shape: NativeAttentionShape): NativeAttention
  synchronize(): Promise<void>
  close(): void
}

export interface NativeConvertOptions {
  readonly inputs: readonly string[]
  readonly output: string
  readonly dtype: Dtype
  readonly mode?: string | undefined
  readonly part?: 'model' | 'tokenizer' | undefined
  readonly license?: string | undefined
  readonly allowNonFinite?: boolean | undefined
}

export interface NativeSynthesizeOptions {
  readonly depth: number
  readonly layout: 'hmar' | 'next-scale' | 'var'
  readonly resolution: 256 | 512 | 1024
  readonly output: string
  readonly dtype: Dtype
}

export interface NativeBinding {
  readonly CancelToken: new () => CancelToken
  readonly NativeTokenizer: {
    load(
      options: NativeLoadOptions & { readonly path: string },
      token: CancelToken,
      onProgress?: NativeProgress,
    ): Promise<NativeTokenizer>
  }
  readonly NativeModel: {
    load(
      options: NativeLoadOptions & {
        /** One file, or the next-scale file and the masked file that was finetuned from it. */
        readonly paths: readonly string[]
        /** The tokenizer's file: codebook and φ. */
        readonly quantizer: string
        /** JSON in the form of the `config.json` beside a file, which it goes before. */
        readonly config?: string | undefined
        readonly mode?: 'next-scale' | 'var' | undefined
      },
      token: CancelToken,
      onProgress?: NativeProgress,
    ): Promise<NativeModel>
  }
  readonly NativeSampler: new (model: NativeModel, tokenizer: NativeTokenizer) => NativeSampler
  readonly NativeQueue: { open(device: string): Promise<NativeQueue> }
  /** What a session was saved with. */
  sessionDescription(saved: Uint8Array): string
  version(): string
  inspectDevices(): unknown
  inspectCheckpoint(path: string, mode?: string): Promise<string>
  convertCheckpoint(
    options: NativeConvertOptions,
    token: CancelToken,
    onProgress?: NativeProgress,
  ): Promise<string>
  synthesizeCheckpoint(
    options: NativeSynthesizeOptions,
    token: CancelToken,
    onProgress?: NativeProgress,
  ): Promise<void>
  /** Panics inside the addon, for the test that a panic is thrown as an error. */
  panicAtOnceForTest(): void
  /** Panics inside the addon, for the test that a panic becomes a rejection. */
  panicForTest(): Promise<void>
}
