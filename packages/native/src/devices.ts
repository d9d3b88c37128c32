import { HmarError } from '@hmar/core'
import { z } from 'zod'

import { binding } from './binding.js'
import { callNative } from './cancellation.js'

const deviceReport = z.object({
  id: z.string(),
  kind: z.enum(['cpu', 'cuda']),
  name: z.string(),
  available: z.boolean(),
  reason: z
    .string()
    .nullish()
    .transform((reason) => reason ?? undefined),
  threads: z
    .number()
    .int()
    .positive()
    .nullish()
    .transform((threads) => threads ?? undefined),
  features: z.array(z.string()),
})

/** A device that weights can live on, and whether this machine can use it. */
export interface DeviceReport {
  /** `cpu`, `cuda` or `cuda:1`. */
  readonly id: string
  readonly kind: 'cpu' | 'cuda'
  /** The processor's name. */
  readonly name: string
  readonly available: boolean
  /** Why it is not available, and what would change that. */
  readonly reason?: string | undefined
  /** How many threads it runs by default (CPU). */
  readonly threads?: number | undefined
  /** Instruction sets and the like that the kernels use. */
  readonly features: readonly string[]
}

/** Where to compute: `auto` takes a GPU that can be used, else the CPU. An explicit `cuda` never falls back. */
export type Device = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`

/**
 * The devices of this machine, usable or not.
 *
 * @throws {HmarError} `ADDON_MISSING` if the native addon cannot be loaded
 */
export function inspectDevices(): readonly DeviceReport[] {
  return z.array(deviceReport).parse(callNative(() => binding().inspectDevices()))
}

/**
 * The id of the device to use.
 *
 * @internal
 * @throws {HmarError} `DEVICE_UNAVAILABLE`, with the reason, if an explicit device cannot be used
 */
export function resolveDevice(device: Device): string {
  if (device === 'cpu') return device
  const gpus = inspectDevices().filter(({ kind }) => kind === 'cuda')
  if (device === 'auto') return gpus.find(({ available }) => available)?.id ?? 'cpu'
  const fits = gpus.filter(
    ({ id }) => device === 'cuda' || id === device || (device === 'cuda:0' && id === 'cuda'),
  )
  const usable = fits.find(({ available }) => available)
  if (usable) return usable.id
  throw new HmarError('DEVICE_UNAVAILABLE', `The device '${device}' cannot be used.`, {
    found: (fits[0] ?? gpus[0])?.reason ?? `no device '${device}' on this machine`,
    remedy: "Choose device 'auto' or 'cpu' to compute on the CPU.",
  })
}
