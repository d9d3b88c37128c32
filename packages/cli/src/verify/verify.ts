import { arch, platform, release } from 'node:os'
import { addonVersion, type Device, type Dtype, inspectDevices, resolveDevice } from '@hmar/native'
import { HmarSampler } from '@hmar/sampler'
import { readGoldens } from '@hmar/shapes'

import { bfloat16Checks } from './bfloat16.js'
import type { Check, Outcome, Subject } from './check.js'
import { float32Checks } from './float32.js'
import type { Finding, Verification } from './report.js'

/** What to verify. */
export interface VerifyOptions {
  readonly device: Device
  /** Undefined: both. */
  readonly dtype?: Dtype | undefined
  readonly threads?: number | undefined
  readonly signal: AbortSignal
  readonly onProgress: (fraction: number, what: string) => void
}

/**
 * Holds a device to the goldens of the embedded model.
 *
 * @throws {HmarError} `DEVICE_UNAVAILABLE` where the device cannot be used, and what loading and generating throw
 */
export async function verify(options: VerifyOptions): Promise<Verification> {
  const { dtype, threads, signal, onProgress } = options
  const started = performance.now()
  const id = resolveDevice(options.device) as Device
  const goldens = readGoldens()
  const load = async (precision: Dtype): Promise<Subject> => ({
    sampler: await HmarSampler.load({ model: 'shapes', device: id, dtype: precision, threads, signal }),
    goldens,
    signal,
  })
  // In float32 first: bfloat16 is held to it.
  const reference = await load('f32')
  await using _reference = reference.sampler
  const subject = dtype === 'f32' ? undefined : await load('bf16')
  await using _subject = subject?.sampler
  const checks: { dtype: Dtype; check: Check }[] = [
    ...(dtype === 'bf16' ? [] : float32Checks(reference)).map((check) => ({ dtype: 'f32' as const, check })),
    ...(subject ? bfloat16Checks(subject, reference) : []).map((check) => ({
      dtype: 'bf16' as const,
      check,
    })),
  ]
  const findings: Finding[] = []
  for (const [index, { dtype: precision, check }] of checks.entries()) {
    onProgress(index / checks.length, check.what)
    findings.push({ dtype: precision, what: check.what, ...(await runCheck(check)) })
  }
  const { kind, name, features } = inspectDevices().find((device) => device.id === id)!
  return {
    device: { id, kind, name, features },
    versions: {
      hmar: addonVersion(),
      node: process.versions.node,
      system: `${platform()} ${release()} ${arch()}`,
    },
    milliseconds: performance.now() - started,
    findings,
  }
}

/** Runs a check, and one that fails once more: a machine that errs differently each time has another fault. */
async function runCheck({ run }: Check): Promise<Outcome & { readonly repeatable?: boolean }> {
  const outcome = await run()
  if (outcome.ok) return outcome
  const again = await run()
  return { ...outcome, repeatable: again.found === outcome.found && again.first === outcome.first }
}
