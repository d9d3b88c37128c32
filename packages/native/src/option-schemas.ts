import { z } from 'zod'

import type { Device } from './devices.js'

/*
 * Schemas of the options that many calls share.
 */
export const deviceSchema = z.custom<Device>(
  (value) => typeof value === 'string' && /^(auto|cpu|cuda(:\d+)?)$/.test(value),
  "must be 'auto', 'cpu', 'cuda' or 'cuda:1'",
)
export const dtypeSchema = z.enum(['f32', 'bf16'])
export const arithmeticSchema = z.enum(['f32', 'bf16', 'fp8'])
export const threadsSchema = z.number().int().min(1).max(1024)
/** What a file of one stack of blocks is, where it does not say so: HMAR's next-scale training, or VAR. */
export const modeSchema = z.enum(['next-scale', 'var'])
/** The signal that ends a call. */
export const signalSchema = z.custom<AbortSignal>(
  (value) => value instanceof AbortSignal,
  'must be an AbortSignal',
)
/** A function that is told of progress. */
export const listenerSchema = <Event>() =>
  z.custom<(event: Event) => void>((value) => typeof value === 'function', 'must be a function')
