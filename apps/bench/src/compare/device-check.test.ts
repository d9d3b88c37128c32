import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'

import { readDeviceCheck } from './device-check.js'

it('gathers the cases of all sizes, the smallest first', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hmar-'))
  const file = join(folder, 'report.json')
  const one = (resolution: number, batch: number) => ({ layout: 'hmar', depth: 24, resolution, batch })
  const report = {
    device: { name: 'NVIDIA H200', driver: '13.0' },
    parts: {
      'compare/d24@1024': { ok: true, data: { cases: [one(1024, 4), one(1024, 1)] } },
      'compare/d24': { ok: true, data: { cases: [one(256, 1)] } },
      'bench/d16': { ok: true, data: { batches: [] } },
      'compare/d30': { ok: false, summary: 'out of memory' },
    },
  }
  await writeFile(file, JSON.stringify(report))
  const { gpu, cases } = await readDeviceCheck(file)
  expect(gpu).toEqual({ name: 'NVIDIA H200', features: ['driver 13.0'] })
  expect(cases.map(({ resolution, batch }) => [resolution, batch])).toEqual([
    [256, 1],
    [1024, 1],
    [1024, 4],
  ])
  await rm(folder, { recursive: true })
})
