/**
 * Generates pictures with hierarchical masked autoregressive models.
 *
 * @packageDocumentation
 */
export { HmarError, type HmarErrorCode, HmarRangeError, type Recipe, type TokenMaps } from '@hmar/core'
export type { Arithmetic, Device } from '@hmar/native'
export { HmarImage, type ImageFormat, readRecipe } from '@hmar/tokenizer'
export type { DeviceMemory, OperationTime } from './device-use.js'
export type { EditOptions, EditResult, InterpolateOptions, Source, VaryOptions } from './edit.js'
export { type Box, type KeepMask, keepDark, keepInside, keepOutside } from './keep-mask.js'
export type { SamplerLoadOptions } from './load-options.js'
export type { DecodeProgress, GenerateProgress, PassProgress } from './progress.js'
export type { GenerateResult, Timings } from './result.js'
export type { BatchOptions, GenerateOptions, Keep, KeptPixels, SampleOptions } from './sample-options.js'
export { HmarSampler, type ReproduceOptions, type Reproduction, type RestoreOptions } from './sampler.js'
export {
  type CallOptions,
  type ForkOptions,
  type PassDone,
  type ScaleState,
  Session,
  type SessionResult,
} from './session.js'
export type { ImageEvent, PassEvent, PreviewEvent, StreamEvent, StreamOptions } from './stream.js'
