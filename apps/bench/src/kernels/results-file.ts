import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeFileAtomically } from '@hmar/native'

import { renderKernels } from './report.js'
import type { KernelResults } from './results.js'

/** Writes the JSON and the page. */
export async function writeKernels(file: string, results: KernelResults): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  await writeFileAtomically(`${file}.json`, `${JSON.stringify(results, null, 2)}\n`)
  await writeFileAtomically(`${file}.html`, renderKernels(results))
}
