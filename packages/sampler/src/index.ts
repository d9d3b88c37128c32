/**
 * Generates pictures with hierarchical masked autoregressive models.
 *
 * @packageDocumentation
 */
export type { TokenMaps } from '@hmar/core'
export { HmarImage, type ImageFormat } from '@hmar/tokenizer'
export type { DeviceMemory, OperationTime } from './device-use.js'
export type { GenerateOptions } from './generate-options.js'
export type { DecodeProgress, GenerateProgress, PassProgress } from './progress.js'
export type { GenerateResult, Timings } from './result.js'
export { HmarSampler, type SamplerLoadOptions } from './sampler.js'
