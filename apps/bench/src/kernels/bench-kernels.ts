import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { DeviceQueue, writeFileAtomically } from '@hmar/native'

import { commandLine } from '../command-line.js'
import { peakOf } from '../floor.js'
import { formatPercent, formatTime } from '../format.js'
import { describeCommit, describeHost } from '../host.js'
import { type KernelCase, kernelCases } from './cases.js'
import type { KernelOptions } from './command.js'
import { measureOurs } from './ours.js'
import { measurePeers } from './peers.js'
import { renderKernels } from './report.js'
import { capOf, type KernelResult, type KernelResults, withSpeedups } from './results.js'

/** Times attention over pyramids beside PyTorch's ways to do it, on the first GPU; writes JSON and a page. */
export async function benchKernels({ quick, out }: KernelOptions, root: string): Promise<void> {
  const host = describeHost('cuda')
  const peak = host.gpu && peakOf(host.gpu.name)
  const peers = await measurePeers(quick ? 5 : 11)
  const results: KernelResult[] = []
  await using queue = await DeviceQueue.open()
  for (const benchCase of kernelCases) {
    const ours = await measureOurs(queue, benchCase, quick ? 11 : 51)
    const { timings, skipped } = peers.of(benchCase)
    const result = {
      ...benchCase,
      flops: ours.flops,
      bytes: ours.bytes,
      timings: withSpeedups([...ours.timings, ...timings]),
      skipped,
      ...(peak && { cap: capOf(ours, peak) }),
    }
    console.log(describe(benchCase, result))
    results.push(result)
  }
  const run: KernelResults = {
    date: new Date().toISOString().slice(0, 10),
    command: commandLine(),
    commit: describeCommit(root),
    host,
    node: process.versions.node,
    ...(peers.torch !== undefined && { torch: peers.torch }),
    quick,
    results,
  }
  const file = join(out, `${run.date}-${host.device}-kernels`)
  await mkdir(out, { recursive: true })
  await writeFileAtomically(`${file}.json`, `${JSON.stringify(run, null, 2)}\n`)
  await writeFileAtomically(`${file}.html`, renderKernels(run))
  console.log(`Wrote ${file}.json and ${file}.html`)
}

function describe({ resolution, shape }: KernelCase, { timings, cap }: KernelResult): string {
  const lines = timings
    .filter(({ engine }) => engine === 'hmar')
    .map(({ direction, milliseconds, teraflops, speedup }) =>
      [
        `${direction} ${formatTime(milliseconds)}, ${teraflops.toFixed(0)} TFLOP/s`,
        cap && direction === 'forward' && `${formatPercent(teraflops / cap)} of the cap`,
        speedup && `${speedup.toFixed(2)}× the best of PyTorch`,
      ]
        .filter(Boolean)
        .join(', '),
    )
  return `${resolution} px ×${shape.images}, ${shape.pattern}: ${lines.join('; ')}`
}
