import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeFileAtomically } from '@hmar/native'

import { renderComparison } from './report.js'
import type { ComparisonResults } from './results.js'

/** Writes the JSON and the page. */
export async function writeComparison(file: string, results: ComparisonResults): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  await writeFileAtomically(`${file}.json`, `${JSON.stringify(results, null, 2)}\n`)
  await writeFileAtomically(`${file}.html`, renderComparison(results))
}
