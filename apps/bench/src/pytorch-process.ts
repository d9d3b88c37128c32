import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { type ChildSetting, parseLines } from './hmar-process.js'
import type { Measurement, Skipped } from './measurement.js'
import { peerSampling } from './peer-sampling.js'
import { root } from './root.js'

const run = promisify(execFile)

const peer = join(root, 'bench/peers/pytorch/generate.py')

/** A line of the peer's. */
interface PeerLine {
  readonly skipped?: string
  readonly milliseconds: readonly number[]
  readonly decode_milliseconds: readonly number[]
  readonly load_milliseconds: number
  readonly passes: number
  readonly tokens: number
  readonly weight_bytes: number
  readonly peak_memory_bytes: number
  readonly torch: string
}

/** What PyTorch takes, batch by batch; why nothing, where it cannot run here. */
export async function measurePytorch(
  { folder, device, dtype, threads, batches, warmup, repeats }: ChildSetting,
  graph: boolean,
): Promise<(Measurement | Skipped)[]> {
  const sampling = JSON.stringify(await peerSampling(folder))
  const options = { model: folder, sampling, device, dtype, threads, warmup, repeats }
  const words = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
  const python = process.env.HMAR_PYTHON ?? 'python3'
  try {
    const { stdout } = await run(
      python,
      [peer, ...words, '--batch', ...batches.map(String), ...(graph ? ['--graph'] : [])],
      { env: { ...process.env, OMP_NUM_THREADS: String(threads) } },
    )
    return parseLines<PeerLine>(stdout).map(fromPeer)
  } catch (error) {
    const skipped = whyNot(error as Failure, python)
    return batches.map(() => ({ skipped }))
  }
}

function fromPeer(line: PeerLine): Measurement | Skipped {
  const { skipped, milliseconds, passes, tokens, torch } = line
  if (skipped !== undefined) return { skipped }
  return {
    milliseconds,
    decodeMilliseconds: line.decode_milliseconds,
    loadMilliseconds: line.load_milliseconds,
    passes,
    tokens,
    weightBytes: line.weight_bytes,
    peakMemoryBytes: line.peak_memory_bytes,
    torch,
  }
}

/** How a process ended that did not end well. */
interface Failure {
  readonly code?: number | string
  readonly stdout?: string
  readonly stderr?: string
}

/** The peer's word for a machine without PyTorch, or without its GPU. */
const notHere = 3

function whyNot({ code, stdout = '', stderr = '' }: Failure, python: string): string {
  if (code === notHere) return JSON.parse(stdout).skipped
  if (code === 'ENOENT') return `${python} is not installed (HMAR_PYTHON names another)`
  return stderr.trim().split('\n').at(-1) || `it ended with ${code}`
}
