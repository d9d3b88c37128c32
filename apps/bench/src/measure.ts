import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import type { BenchCase, Repetitions } from './cases.js'
import type { Measurement } from './measurement.js'
import { peerSampling } from './peer-sampling.js'

const run = promisify(execFile)

const child = fileURLToPath(new URL('child.js', import.meta.url))
const peer = fileURLToPath(new URL('../../../bench/peers/pytorch/generate.py', import.meta.url))

/** The peer's word for a machine without PyTorch. */
const notInstalled = 3

/** What a case runs on. */
export interface Setting extends Repetitions {
  /** Folder of the weights and their config.json. */
  readonly folder: string
  readonly threads: number
}

/**
 * Measures a case in a process of its own, so that its peak memory is its own and no other case's threads are awake.
 *
 * @returns why not, where the peer cannot run here
 */
export async function measure(
  benchCase: BenchCase,
  setting: Setting,
): Promise<Measurement | { skipped: string }> {
  return benchCase.engine === 'hmar' ? measureHmar(benchCase, setting) : measurePytorch(benchCase, setting)
}

async function measureHmar({ dtype, batch }: BenchCase, setting: Setting): Promise<Measurement> {
  const { stdout } = await run(process.execPath, [child, JSON.stringify({ ...setting, dtype, batch })])
  return JSON.parse(stdout)
}

async function measurePytorch({ dtype, batch }: BenchCase, { folder, threads, warmup, repeats }: Setting) {
  const sampling = JSON.stringify(await peerSampling(folder))
  const options = { model: folder, sampling, batch, dtype, threads, warmup, repeats }
  const words = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
  const python = process.env.HMAR_PYTHON ?? 'python3'
  try {
    const { stdout } = await run(python, [peer, ...words], {
      env: { ...process.env, OMP_NUM_THREADS: String(threads) },
    })
    const { decode_milliseconds, peak_memory_bytes, ...rest } = JSON.parse(stdout)
    return { ...rest, decodeMilliseconds: decode_milliseconds, peakMemoryBytes: peak_memory_bytes }
  } catch (error) {
    const { code, stdout } = error as { code?: unknown; stdout?: string }
    if (code === notInstalled) return JSON.parse(stdout ?? '')
    if (code === 'ENOENT') return { skipped: `${python} is not installed (HMAR_PYTHON names another)` }
    throw error
  }
}
