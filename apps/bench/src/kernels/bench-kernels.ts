import { join } from 'node:path'
import { DeviceQueue } from '@hmar/native'

import { commandLine } from '../command-line.js'
import { peakOf } from '../floor.js'
import { formatPercent, formatTime } from '../format.js'
import { describeCommit, describeHost, type Host } from '../host.js'
import { type KernelCase, kernelCases, resolutions } from './cases.js'
import type { KernelOptions } from './command.js'
import { measureOurs } from './ours.js'
import { measurePeers, type PeerLine, type Peers, peersOf } from './peers.js'
import { capOf, type KernelResult, withSpeedups } from './results.js'
import { writeKernels } from './results-file.js'

/** Times attention over pyramids beside PyTorch's ways to do it, on the first GPU. What is measured is written at once. */
export async function benchKernels({ quick, out }: KernelOptions, root: string): Promise<void> {
  const host = describeHost('cuda')
  const head = {
    date: new Date().toISOString().slice(0, 10),
    command: commandLine(),
    commit: describeCommit(root),
    host,
    node: process.versions.node,
    quick,
  }
  const file = join(out, `${head.date}-${host.device}-kernels`)
  const measured: Measured[] = []
  const lines: PeerLine[] = []
  const write = async () => {
    const { torch, of } = peersOf(lines)
    const results = measured.map((ours) => beside(ours, of(ours), host))
    await writeKernels(file, { ...head, ...(torch !== undefined && { torch }), results })
    return results
  }

  await using queue = await DeviceQueue.open()
  for (const benchCase of kernelCases) {
    const ours = { ...benchCase, ...(await measureOurs(queue, benchCase, quick ? 11 : 51)) }
    measured.push(ours)
    console.log(describe((await write()).at(-1)!))
  }
  for (const resolution of resolutions) {
    console.log(`PyTorch at ${resolution} px, which compiles first …`)
    const found = await measurePeers(resolution, quick ? 5 : 11)
    if (!found) break
    lines.push(...found)
    for (const result of await write()) if (result.resolution === resolution) console.log(describe(result))
  }
  console.log(`Wrote ${file}.json and ${file}.html`)
}

type Measured = KernelCase & Awaited<ReturnType<typeof measureOurs>>

/** Ours with what PyTorch takes. */
function beside(ours: Measured, { timings, skipped }: ReturnType<Peers['of']>, host: Host): KernelResult {
  const peak = host.gpu && peakOf(host.gpu.name)
  return {
    ...ours,
    timings: withSpeedups([...ours.timings, ...timings]),
    skipped,
    ...(peak && { cap: capOf(ours, peak) }),
  }
}

function describe({ resolution, shape, timings, cap }: KernelResult): string {
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
