// Puts the public API of every library on record, in docs/api, where reviews see it change.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compareReport, recordedEntryPoints } from '../checks/api-reports.mjs'
import { prepare } from './prepare.mjs'

if (!(await prepare())) process.exit(1)
const folder = mkdtempSync(join(tmpdir(), 'hmar-api-'))
for (const entry of recordedEntryPoints())
  if (compareReport(entry, folder, true)) console.log(`The API of ${entry.id} has changed.`)
rmSync(folder, { recursive: true })
