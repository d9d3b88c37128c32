import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import type { BenchDevice } from '../cases.js'
import { parseLines } from '../hmar-process.js'
import type { CompareCase } from './comparison.js'

const run = promisify(execFile)

const child = fileURLToPath(new URL('compare-child.js', import.meta.url))

/** What the process of one size is told. */
export interface ChildSetting {
  /** The weights of both. */
  readonly folders: Readonly<Record<CompareCase['layout'], string>>
  readonly device: BenchDevice
  readonly dtype: 'f32' | 'bf16'
  readonly threads: number
  /** One after another, smallest first. */
  readonly batches: readonly number[]
  /** The GPU's name. */
  readonly gpu?: string | undefined
  /** Generations of each before the clock runs, and under it. */
  readonly warmup: number
  readonly repeats: number
}

/** Both layouts of one size, in a process of their own. */
export async function measureSize(setting: ChildSetting): Promise<CompareCase[]> {
  const { stdout } = await run(process.execPath, [child, JSON.stringify(setting)])
  return parseLines(stdout)
}
