import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeFileAtomically } from '@hmar/native'

import type { Pair } from './comparison.js'
import { renderComparison } from './report.js'

/** Everything a comparison found. */
export interface ComparisonResults {
  /** Year, month and day. */
  readonly date: string
  readonly command: string
  readonly commit: string
  /** The name of what computed. */
  readonly device: string
  /** Drivers, versions. */
  readonly software: string
  readonly pairs: readonly Pair[]
}

/** Writes the JSON and the page. */
export async function writeComparison(file: string, results: ComparisonResults): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  await writeFileAtomically(`${file}.json`, `${JSON.stringify(results, null, 2)}\n`)
  await writeFileAtomically(`${file}.html`, renderComparison(results))
}
