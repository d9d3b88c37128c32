import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { root } from '../scripts/run.mjs'
import { compareReport, recordedEntryPoints, reportName } from './api-reports.mjs'

const folder = mkdtempSync(join(tmpdir(), 'hmar-api-'))
afterAll(() => rmSync(folder, { recursive: true }))
const read = (path) => readFileSync(path, 'utf8')

it.each(recordedEntryPoints())('the API of $id is the one on record (else: npm run api-reports)', (entry) => {
  const differs = compareReport(entry, folder, false)
  const file = `${reportName(entry)}.api.md`
  // Shows what changed.
  if (differs) expect(read(join(folder, file))).toBe(read(join(root, 'docs/api', file)))
  expect(differs).toBe(false)
})

it('no report is left of an entry point that is gone', () => {
  const expected = recordedEntryPoints().map((entry) => `${reportName(entry)}.api.md`)
  expect(readdirSync(join(root, 'docs/api')).sort()).toEqual(expected.sort())
})
