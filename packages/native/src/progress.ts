import type { NativeProgress } from './binding-types.js'

/** How far reading or writing a file has come. */
export interface BytesProgress {
  readonly doneBytes: number
  readonly totalBytes: number
  /** 0 to 1. */
  readonly fraction: number
}

/** The addon's form of a listener. */
export const bytesListener = (
  onProgress: ((progress: BytesProgress) => void) | undefined,
): NativeProgress | undefined =>
  onProgress &&
  ((doneBytes, totalBytes) =>
    onProgress({ doneBytes, totalBytes, fraction: totalBytes > 0 ? doneBytes / totalBytes : 1 }))
