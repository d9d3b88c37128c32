import { z } from 'zod'

/*
 * Schemas of the options that many calls share.
 */
export const dtypeSchema = z.enum(['f32', 'bf16'])
export const threadsSchema = z.number().int().min(1).max(1024)
export const modeSchema = z.enum(['next-scale', 'var'])
export const signalSchema = z.custom<AbortSignal>(
  (value) => value instanceof AbortSignal,
  'must be an AbortSignal',
)
export const listenerSchema = <Event>() =>
  z.custom<(event: Event) => void>((value) => typeof value === 'function', 'must be a function')
