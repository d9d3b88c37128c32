import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

it('finds nothing wrong with three thousand damaged schedules', async () => {
  const script = fileURLToPath(new URL('fuzz-schedules.mjs', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [script, '3000', '1'])
  expect(stdout).toBe('3000 schedules, from seed 1\n')
}, 120_000)
