/**
 * The only package that loads HMAR's native addon: its errors, devices, checkpoints and the memory it holds.
 *
 * @packageDocumentation
 */

export type { Arithmetic, CancelToken, Dtype } from './binding-types.js'
export { type CancellationOptions, callNative, withCancellation } from './cancellation.js'
export { findTokenizerFile, namedFile } from './checkpoint-folder.js'
export { type ConversionSummary, type ConvertOptions, convertCheckpoint } from './convert-checkpoint.js'
export { DeviceBuffer, type DeviceNumbers } from './device-buffer.js'
export { DeviceQueue, type Instant } from './device-queue.js'
export { type Device, type DeviceReport, inspectDevices, resolveDevice } from './devices.js'
export { isFile, isFolder } from './file-kind.js'
export { findPulledFile, hubCacheFolder, hubRepositoryFolder } from './hub-cache.js'
export {
  type CheckpointReport,
  type InspectOptions,
  inspectCheckpoint,
  type TensorReport,
} from './inspect-checkpoint.js'
export { type LoadOptions, type LoadProgress, loadNative, loadOptionsShape } from './load-options.js'
export { listenerSchema, modeSchema, signalSchema } from './option-schemas.js'
export type { BytesProgress } from './progress.js'
export { Resource } from './resource.js'
export {
  type AttentionBackward,
  type AttentionForward,
  type AttentionShape,
  SegmentAttention,
} from './segment-attention.js'
export { type SynthesizeOptions, synthesizeCheckpoint } from './synthesize-checkpoint.js'
export { addonVersion } from './version.js'
export { writeFileAtomically } from './write-file.js'
