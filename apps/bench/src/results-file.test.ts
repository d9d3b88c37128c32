import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'

import type { Results } from './results.js'
import { readEarlier, writeResults } from './results-file.js'

const results: Results = {
  date: '2026-01-01',
  command: 'npm run bench',
  commit: 'abc1234',
  host: { cpu: 'A processor', device: 'a-processor', cores: 2, memoryBytes: 16e9, system: 'linux 6.1 x64' },
  node: '20.20.2',
  threads: 2,
  quick: false,
  cases: [],
  openings: [],
}

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hmar-results-'))
})
afterEach(() => rm(folder, { recursive: true }))

it('goes on with what the same commit measured in the same way, and with nothing else', async () => {
  const file = join(folder, 'new/2026-01-01-a-processor')
  expect(await readEarlier(file, results)).toBeUndefined()
  await writeResults(file, results)
  expect(await readEarlier(file, results)).toEqual(results)
  expect(await readEarlier(file, { ...results, commit: 'abc1234+' })).toBeUndefined()
  expect(await readEarlier(file, { ...results, quick: true })).toBeUndefined()
  expect(await readFile(`${file}.html`, 'utf8')).toContain('A processor')
})

it('does not overwrite what it cannot read', async () => {
  await writeFile(join(folder, 'broken.json'), '{')
  await expect(readEarlier(join(folder, 'broken'), results)).rejects.toThrow(SyntaxError)
})
