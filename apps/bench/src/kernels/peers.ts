import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { parseLines } from '../hmar-process.js'
import { root } from '../root.js'
import type { KernelCase } from './cases.js'
import type { NotMeasured, Timing } from './results.js'

const run = promisify(execFile)

const peer = join(root, 'bench/peers/pytorch/attention.py')

/** A line of the peer's. */
interface PeerLine {
  readonly peer: Exclude<Timing['engine'], 'hmar'>
  readonly resolution: number
  readonly mode: string
  readonly torch: string
  readonly skipped?: string
  readonly forward_milliseconds: number
  readonly forward_teraflops: number
  readonly backward_milliseconds: number
  readonly backward_teraflops: number
}

/** What PyTorch takes of all cases. */
export interface Peers {
  readonly torch?: string
  of(benchCase: KernelCase): { readonly timings: Timing[]; readonly skipped: NotMeasured[] }
}

/** Measures all of PyTorch's ways; none where it is not installed. */
export async function measurePeers(repeats: number): Promise<Peers> {
  const python = process.env.HMAR_PYTHON ?? 'python3'
  try {
    const { stdout } = await run(python, [peer, '--repeats', String(repeats)])
    return peersOf(parseLines<PeerLine>(stdout))
  } catch (error) {
    const { code } = error as { readonly code?: number | string }
    console.error(`PyTorch was not measured: ${python} ended with ${code} (HMAR_PYTHON names another)`)
    return peersOf([])
  }
}

/** By resolution and pattern. */
export function peersOf(lines: readonly PeerLine[]): Peers {
  const torch = lines[0]?.torch
  return {
    ...(torch !== undefined && { torch }),
    of({ resolution, shape }) {
      const own = lines.filter((line) => line.resolution === resolution && line.mode === shape.pattern)
      return {
        timings: own.filter(({ skipped }) => skipped === undefined).flatMap(timingsOf),
        skipped: own.flatMap(({ peer: engine, skipped }) =>
          skipped === undefined ? [] : { engine, skipped },
        ),
      }
    },
  }
}

const timingsOf = (line: PeerLine): Timing[] => [
  {
    engine: line.peer,
    direction: 'forward',
    milliseconds: line.forward_milliseconds,
    teraflops: line.forward_teraflops,
  },
  {
    engine: line.peer,
    direction: 'backward',
    milliseconds: line.backward_milliseconds,
    teraflops: line.backward_teraflops,
  },
]
