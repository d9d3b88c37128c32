import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { parseLines } from '../hmar-process.js'
import { root } from '../root.js'
import type { KernelCase, Resolution } from './cases.js'
import type { NotMeasured, Timing } from './results.js'

const run = promisify(execFile)

const peer = join(root, 'bench/peers/pytorch/attention.py')

/** A line of the peer's. */
export interface PeerLine {
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

/** Measures PyTorch's ways at a resolution, HMAR's pattern and VAR's; undefined where PyTorch cannot run. */
export async function measurePeers(
  resolution: Resolution,
  repeats: number,
): Promise<readonly PeerLine[] | undefined> {
  const python = process.env.HMAR_PYTHON ?? 'python3'
  const words = [peer, '--resolution', String(resolution), '--repeats', String(repeats)]
  try {
    return parseLines<PeerLine>((await run(python, words)).stdout)
  } catch (error) {
    const { code } = error as { readonly code?: number | string }
    console.error(`PyTorch was not measured: ${python} ended with ${code} (HMAR_PYTHON names another)`)
    return undefined
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
