import { mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeFileAtomically } from '@hmar/native'

import { renderReport } from './report.js'
import type { Results } from './results.js'

/**
 * What an earlier run left, if it measured the same: another commit's figures, or quick ones, are not mixed in.
 *
 * @param file - without its ending
 */
export async function readEarlier(
  file: string,
  { commit, quick }: Pick<Results, 'commit' | 'quick'>,
): Promise<Results | undefined> {
  let text: string
  try {
    text = await readFile(`${file}.json`, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const earlier: Results = JSON.parse(text)
  return earlier.commit === commit && earlier.quick === quick ? earlier : undefined
}

/** Writes the JSON and the page. */
export async function writeResults(file: string, results: Results): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  await writeFileAtomically(`${file}.json`, `${JSON.stringify(results, null, 2)}\n`)
  await writeFileAtomically(`${file}.html`, renderReport(results))
}
