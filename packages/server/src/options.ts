import { checkOptions, HmarRangeError } from '@hmar/core'
import { HmarSampler } from '@hmar/sampler'
import { z } from 'zod'

const count = (most: number) => z.int().min(1).max(most)
const milliseconds = z
  .int()
  .min(1)
  .max(2 ** 31 - 1)

/** What a server allows, and how long it waits. */
export interface Limits {
  /** Requests that may wait for each model. Defaults to 64. */
  readonly queue: number
  /** Images made at once, of several requests together. Defaults to 8. */
  readonly batch: number
  /** Requests of one client that wait or run at once. Defaults to 8. */
  readonly perClient: number
  /** Images of one request. Defaults to 16. */
  readonly images: number
  /** Passes of one schedule. Defaults to 256. */
  readonly passes: number
  /** From a request to its last image, in milliseconds. Defaults to two minutes. */
  readonly requestMs: number
  /** Until a request's body is there, in milliseconds. Defaults to ten seconds. */
  readonly bodyMs: number
  /** How long a client may take nothing of what was written to it, in milliseconds. Defaults to twenty seconds. */
  readonly stallMs: number
  /** How long draining waits for requests, in milliseconds. Defaults to half a minute. */
  readonly drainMs: number
  /** Of a request's body: JSON or a picture. Defaults to 8 MiB. */
  readonly bodyBytes: number
  /** Of a picture that is sent. Defaults to 2²⁴. */
  readonly pixels: number
}

const limits = z.object({
  queue: count(100_000).default(64),
  batch: count(1024).default(8),
  perClient: count(100_000).default(8),
  images: count(1024).default(16),
  passes: count(100_000).default(256),
  requestMs: milliseconds.default(120_000),
  bodyMs: milliseconds.default(10_000),
  stallMs: milliseconds.default(20_000),
  drainMs: milliseconds.default(30_000),
  bodyBytes: count(2 ** 30).default(8 * 2 ** 20),
  pixels: count(2 ** 30).default(2 ** 24),
}) satisfies z.ZodType<Limits>

const Options = z.object({
  models: z.record(
    z.string().regex(/^[\w.-]+$/, 'must be a name for addresses'),
    z.custom<HmarSampler>((value) => value instanceof HmarSampler, 'must be a sampler'),
  ),
  prefix: z
    .string()
    .regex(/^(\/[\w.-]+)*$/, 'must begin with a slash')
    .default('/api'),
  limits: limits.prefault({}),
  onEngineLost: z
    .custom<(error: unknown) => void>((value) => typeof value === 'function', 'must be a function')
    .optional(),
})

/** How to serve. */
export interface HmarServerOptions {
  /** The models, by the names they have in addresses. They stay their owner's. */
  readonly models: Readonly<Record<string, HmarSampler>>
  /** What addresses begin with, but for `/healthz`, `/readyz` and `/metrics`. Defaults to `/api`. */
  readonly prefix?: string
  /** What is allowed, where it is not the default. */
  readonly limits?: Partial<Limits> | undefined
  /** Called once when a model's device stopped working for good: nothing is served any more, and the process should end. */
  readonly onEngineLost?: ((error: unknown) => void) | undefined
}

/**
 * Checks the options.
 *
 * @throws {HmarRangeError} if one is of the wrong kind or out of its range
 */
export function checkServerOptions(options: HmarServerOptions) {
  const checked = checkOptions('hmarServer', Options, options)
  if (Object.keys(checked.models).length === 0)
    throw new HmarRangeError('There is nothing to serve.', { found: 'no models', expected: 'at least one' })
  return checked
}
