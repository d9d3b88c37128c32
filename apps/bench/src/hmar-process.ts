import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import type { BenchCase, BenchDevice, Repetitions } from './cases.js'
import type { Measurement, Skipped } from './measurement.js'

const run = promisify(execFile)

const child = fileURLToPath(new URL('child.js', import.meta.url))

/** What a process of our own engine is told. */
export interface ChildSetting extends Repetitions {
  /** Folder of the weights and their config.json. */
  readonly folder: string
  readonly device: BenchDevice
  readonly dtype: BenchCase['dtype']
  readonly threads: number
  /** One after another, smallest first. */
  readonly batches: readonly number[]
  /** The GPU's name. */
  readonly gpu?: string | undefined
}

/** What our own engine takes, batch by batch. */
export async function measureHmar(setting: ChildSetting): Promise<(Measurement | Skipped)[]> {
  const { stdout } = await run(process.execPath, [child, JSON.stringify(setting)])
  return parseLines(stdout)
}

/** A JSON document a line. */
export const parseLines = <Line>(text: string): Line[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
