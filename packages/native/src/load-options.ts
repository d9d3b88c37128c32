import { z } from 'zod'

import type { Arithmetic, CancelToken, NativeLoadOptions, NativeProgress } from './binding-types.js'
import { withCancellation } from './cancellation.js'
import { type Device, resolveDevice } from './devices.js'
import {
  arithmeticSchema,
  deviceSchema,
  listenerSchema,
  signalSchema,
  threadsSchema,
} from './option-schemas.js'
import { type BytesProgress, bytesListener } from './progress.js'

/** How weights are loaded, and where. */
export interface LoadOptions {
  /** Where to compute. Defaults to `'auto'`. */
  readonly device?: Device | undefined
  /**
   * Precision of the weights and of the products with them; sums are float32. Defaults to `'f32'`. `'fp8'` needs an NVIDIA GPU of
   * compute capability 9.0 with cuBLASLt 12.9 or later: faster for large batches, with errors of some 3% of the logits.
   */
  readonly dtype?: Arithmetic | undefined
  /**
   * A picture's bits are the same whatever is generated beside it. On a GPU this costs time, most of it for few pictures; on the
   * CPU, whose results never depend on the batch, nothing. Model and tokenizer of a sampler have to agree. Defaults to false.
   */
  readonly batchInvariant?: boolean | undefined
  /** Threads to compute with on the CPU, 1 to 1024. Results do not depend on it. Defaults to one for each core. */
  readonly threads?: number | undefined
  /** Accept weights that are NaN or infinite. Defaults to false. */
  readonly allowNonFinite?: boolean | undefined
  /** Aborting it rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined
  /** Gets the bytes read so far. */
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined
}

/** How far reading a file of weights has come. */
export interface LoadProgress extends BytesProgress {
  readonly part: 'model' | 'tokenizer'
}

/**
 * The checked fields of {@link LoadOptions}, for the schemas of packages that load something.
 *
 * @internal
 */
export const loadOptionsShape = {
  device: deviceSchema.default('auto'),
  dtype: arithmeticSchema.default('f32'),
  batchInvariant: z.boolean().default(false),
  threads: threadsSchema.optional(),
  allowNonFinite: z.boolean().default(false),
  signal: signalSchema.optional(),
  onProgress: listenerSchema<LoadProgress>().optional(),
}

type CheckedLoadOptions = z.output<z.ZodObject<typeof loadOptionsShape>>

/**
 * Loads something native: finds the device, reports progress, can be cancelled.
 *
 * @internal
 */
export async function loadNative<Loaded extends { close(): void }>(
  part: LoadProgress['part'],
  { device, signal, onProgress, ...options }: CheckedLoadOptions,
  load: (options: NativeLoadOptions, token: CancelToken, onProgress?: NativeProgress) => Promise<Loaded>,
): Promise<Loaded> {
  signal?.throwIfAborted()
  const { dtype, batchInvariant, threads, allowNonFinite } = options
  const native = { device: resolveDevice(device), dtype, batchInvariant, threads, allowNonFinite }
  return withCancellation(
    {
      signal,
      onEvent: bytesListener(onProgress && ((progress) => onProgress({ part, ...progress }))),
      discard: (late) => late.close(),
    },
    (token, onEvent) => load(native, token, onEvent),
  )
}
