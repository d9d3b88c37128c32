import type { DeviceReport, Dtype } from '@hmar/native'

import { formatMilliseconds } from '../format.js'
import type { Outcome } from './check.js'

/** A check that has run. */
export interface Finding extends Outcome {
  readonly dtype: Dtype
  readonly what: string
  /** Of one that failed: whether it came to the same when it was run again. */
  readonly repeatable?: boolean
}

/** Everything that verifying a machine found. */
export interface Verification {
  readonly device: Pick<DeviceReport, 'id' | 'kind' | 'name' | 'features'>
  readonly versions: { readonly hmar: string; readonly node: string; readonly system: string }
  readonly milliseconds: number
  readonly findings: readonly Finding[]
}

/** A verdict, and what to do. */
export interface Verdict {
  readonly ok: boolean
  readonly verdict: string
  readonly remedy?: string
}

const precisions: Readonly<Record<Dtype, string>> = { f32: 'float32', bf16: 'bfloat16' }

/** What the findings mean for the person at the machine. */
export function judge({ device, findings }: Verification): Verdict {
  const failed = findings.filter(({ ok }) => !ok)
  const names = (of: readonly Finding[]) =>
    [...new Set(of.map(({ dtype }) => precisions[dtype]))].join(' and ')
  if (failed.length === 0)
    return { ok: true, verdict: `This device computes what it should, in ${names(findings)}.` }
  return {
    ok: false,
    verdict: `This device does not compute what it should in ${names(failed)}: ${failed.length} of ${findings.length} checks failed.`,
    remedy: remedyFor(device, failed, findings),
  }
}

function remedyFor(
  { kind, id }: Verification['device'],
  failed: readonly Finding[],
  findings: readonly Finding[],
): string {
  const report = `Report it with what \`hmar verify --device ${id} --json\` prints.`
  if (failed.some(({ repeatable }) => repeatable === false))
    return kind === 'cuda'
      ? `Results change from run to run: look for memory errors with \`nvidia-smi -q -d ECC\` and for heat with \`nvidia-smi -q -d TEMPERATURE\`, and use another device until they are gone. If there are none: ${report}`
      : `Results change from run to run: test the machine's memory and undo any overclocking. ${report}`
  if (kind === 'cpu')
    return `Install the addon of this version anew: npm install @hmar/native. If it stays: ${report}`
  const floatsAreRight =
    findings.some(({ dtype }) => dtype === 'f32') && failed.every(({ dtype }) => dtype === 'bf16')
  const instead = floatsAreRight ? '--dtype f32' : '--device cpu'
  return `Update NVIDIA's driver and verify again. Until it is right, compute with ${instead}. ${report}`
}

/** The whole for people. */
export function formatVerification(verification: Verification): string {
  const { device, versions, milliseconds, findings } = verification
  const { ok, verdict, remedy } = judge(verification)
  const width = Math.max(...findings.map(({ what }) => what.length))
  const lines = [
    `${device.name} (${[device.id, ...device.features].join(', ')})`,
    `hmar ${versions.hmar}, Node ${versions.node}, ${versions.system}`,
  ]
  for (const dtype of new Set(findings.map((finding) => finding.dtype))) {
    lines.push('', precisions[dtype])
    for (const finding of findings.filter((candidate) => candidate.dtype === dtype)) {
      const { what, found, expected, first } = finding
      lines.push(`  ${finding.ok ? 'ok  ' : 'FAIL'}  ${what.padEnd(width)}  ${found} (${expected})`)
      if (first) lines.push(`        first: ${first}`)
      if (!finding.ok)
        lines.push(`        ${finding.repeatable ? 'the same' : 'something else'} when run again`)
    }
  }
  lines.push('', `${ok ? 'Verified' : 'Not verified'}, in ${formatMilliseconds(milliseconds)}. ${verdict}`)
  if (remedy) lines.push(`What to do: ${remedy}`)
  return lines.join('\n')
}
