import type {
  CancelToken,
  NativeBinding,
  NativeDeviceMemory,
  NativeGenerateRequest,
  NativeLoadOptions,
  NativeModel,
  NativeProfiledOperation,
  NativeQueue,
  NativeSampler,
  NativeTokenizer,
} from '../binding-types.js'

/** A model of toy size, as the engine describes it. */
export const fakeModelConfig = {
  layout: 'combined',
  depth: 2,
  branchDepth: 1,
  width: 64,
  heads: 1,
  mlpRatio: 4,
  queryKeyNorm: true,
  sharedAdaLN: false,
  classes: 3,
  codebookSize: 4,
  codeDimension: 2,
  pyramid: [1, 2, 4],
}

/** The tokenizer beside it: pictures of 8 × 8 pixels. */
export const fakeTokenizerConfig = {
  channels: 32,
  channelMultipliers: [1, 1],
  residualBlocks: 1,
  codebookSize: 4,
  codeDimension: 2,
  phiCount: 4,
}

/** An error as the addon rejects with it. */
export const nativeFailure = (code: string, message: string) =>
  new Error(JSON.stringify({ hmar: true, code, message, found: null, expected: null, remedy: null }))

class FakeToken implements CancelToken {
  cancelled = false
  cancel() {
    this.cancelled = true
  }
}

const checkCancelled = (token: CancelToken) => {
  if ((token as FakeToken).cancelled) throw nativeFailure('CANCELLED', 'cancelled')
}

const turn = () => new Promise<void>((resolve) => setTimeout(resolve, 1))

/** What a fake was asked for, and what it answers: tests read and replace it. */
export interface FakeBinding extends NativeBinding {
  /** The calls so far, by name. */
  readonly calls: string[]
  readonly requests: NativeGenerateRequest[]
  /** Arguments of the loads. */
  readonly loads: (NativeLoadOptions & { readonly paths: readonly string[] })[]
  modelConfig: object
  tokenizerConfig: object
  devices: unknown
  /** Logits of one row, for every position. */
  logits: readonly number[]
  deviceMemory: NativeDeviceMemory | null
  /** What a profile finds. */
  operations: readonly NativeProfiledOperation[]
}

/**
 * A binding without an engine, for tests of what TypeScript does: it records calls, takes a millisecond for each pass
 * and stops between passes when cancelled. Tokens are the image's index modulo the codebook.
 */
export function fakeBinding(): FakeBinding {
  const calls: string[] = []
  const requests: NativeGenerateRequest[] = []
  const loads: FakeBinding['loads'] = []

  const tokenizer = (): NativeTokenizer => ({
    configJson: () => JSON.stringify(fake.tokenizerConfig),
    weightBytes: () => 100,
    workingBytes: () => 10,
    async encode(pixels, pyramid, token) {
      calls.push('encode')
      await turn()
      checkCancelled(token)
      return Int32Array.from({ length: count(pyramid) }, () => (pixels[0]! > 0 ? 1 : 0))
    },
    async decode(tokens, pyramid, everyScale, token) {
      calls.push('decode')
      await turn()
      checkCancelled(token)
      const side = pyramid.at(-1)! * 2
      return new Uint8Array((everyScale ? pyramid.length : 1) * side * side * 3).fill(tokens[0]!)
    },
    interpolate: async (first) => first,
    close: () => void calls.push('close tokenizer'),
  })

  const model = (): NativeModel => ({
    configJson: () => JSON.stringify(fake.modelConfig),
    fingerprint: async () => 'f'.repeat(64),
    weightBytes: () => 1000,
    batchBytes: () => 50,
    async logits({ tokens }, token) {
      calls.push('logits')
      await turn()
      checkCancelled(token)
      return Float32Array.from({ length: tokens.length * 4 }, (_, i) => fake.logits[i % 4]!)
    },
    close: () => void calls.push('close model'),
  })

  const queue = (): NativeQueue => ({
    allocate: (_, length) => {
      let numbers = new Float32Array(length)
      return {
        writeBfloat16: async (data) => numbers.set(data),
        writeFloat32: async (data) => numbers.set(data),
        read: async () => numbers,
        fill: (byte) => {
          numbers = numbers.fill(byte)
        },
        close: () => void calls.push('close buffer'),
      }
    },
    mark: () => ({ millisecondsSince: async () => 1 }),
    planAttention: ({ causal }) => {
      calls.push(causal ? 'plan causal' : 'plan diagonal')
      return {
        forward: () => void calls.push('forward'),
        backward: () => void calls.push('backward'),
        close: () => void calls.push('close attention'),
      }
    },
    synchronize: async () => {},
    close: () => void calls.push('close queue'),
  })

  const fake: FakeBinding = {
    calls,
    requests,
    loads,
    modelConfig: fakeModelConfig,
    tokenizerConfig: fakeTokenizerConfig,
    devices: [{ id: 'cpu', kind: 'cpu', name: 'Fake', available: true, threads: 2, features: [] }],
    logits: [0, 1, 2, 3],
    deviceMemory: null,
    operations: [],
    CancelToken: FakeToken,
    NativeTokenizer: {
      async load(options, token, onProgress) {
        loads.push({ ...options, paths: [options.path] })
        onProgress?.(50, 100)
        await turn()
        checkCancelled(token)
        return tokenizer()
      },
    },
    NativeModel: {
      async load(options, token, onProgress) {
        loads.push(options)
        onProgress?.(500, 1000)
        await turn()
        checkCancelled(token)
        return model()
      },
    },
    NativeSampler: class implements NativeSampler {
      async generate(
        request: NativeGenerateRequest,
        token: CancelToken,
        onEvent?: Parameters<NativeSampler['generate']>[2],
      ) {
        calls.push('generate')
        requests.push(request)
        const { passes, labels, firstImage } = request
        const images = labels.length
        for (const pass of passes.keys()) {
          await turn()
          checkCancelled(token)
          onEvent?.({ kind: 'pass', firstImage: 0, images, pass, passes: passes.length })
        }
        onEvent?.({ kind: 'decode', firstImage: 0, images })
        const perImage = (length: number) =>
          Int32Array.from({ length: images * length }, (_, i) => (firstImage + Math.floor(i / length)) % 4)
        return {
          pixels: Uint8Array.from(perImage(8 * 8 * 3)),
          tokens: perImage(21),
          ...(request.trace && { trace: perImage(passes.reduce((sum, { side }) => sum + side * side, 0)) }),
          timings: { conditionMs: 1, passMs: passes.map(() => 1), decodeMs: 1, totalMs: passes.length + 2 },
        }
      }
      openSession(): Promise<never> {
        throw nativeFailure('INTERNAL', 'no sessions here')
      }
      resumeSession(): Promise<never> {
        throw nativeFailure('INTERNAL', 'no sessions here')
      }
      deviceMemory() {
        return fake.deviceMemory
      }
      restartPeak() {
        calls.push('restart peak')
      }
      async profile(request: NativeGenerateRequest, token: CancelToken) {
        calls.push('profile')
        requests.push(request)
        await turn()
        checkCancelled(token)
        return [...fake.operations]
      }
      close() {
        calls.push('close sampler')
      }
    },
    NativeQueue: {
      async open(device) {
        calls.push(`open ${device}`)
        return queue()
      },
    },
    sessionDescription: () => '{}',
    version: () => '0.0.0',
    inspectDevices: () => fake.devices,
    inspectCheckpoint: async () => '{}',
    convertCheckpoint: async () => JSON.stringify({ tensors: 1, parameters: 2, bytes: 3 }),
    synthesizeCheckpoint: async () => {},
    panicAtOnceForTest: () => {
      throw nativeFailure('INTERNAL', 'panic')
    },
    panicForTest: async () => {
      throw nativeFailure('INTERNAL', 'panic')
    },
  }
  return fake
}

const count = (pyramid: readonly number[]) => pyramid.reduce((sum, side) => sum + side * side, 0)
