import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { modelPath } from '@hmar/shapes'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import type { ChildSetting } from './hmar-process.js'
import { measurePytorch } from './pytorch-process.js'

const setting: ChildSetting = {
  folder: dirname(modelPath),
  device: 'cuda',
  dtype: 'bf16',
  threads: 2,
  warmup: 1,
  repeats: 2,
  batches: [1, 8],
}

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hmar-peer-'))
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true })
})

/** Puts a program in Python's place. */
async function python(script: string): Promise<void> {
  const path = join(folder, 'python.mjs')
  await writeFile(path, `#!${process.execPath}\n${script}`)
  await chmod(path, 0o755)
  vi.stubEnv('HMAR_PYTHON', path)
}

it('tells the peer what to do, and reads a line for each batch', async () => {
  await python(`
    const [peer, ...words] = process.argv.slice(2)
    const line = { milliseconds: [3, 4], decode_milliseconds: [1, 1], load_milliseconds: 9, passes: 9, tokens: 130,
      weight_bytes: 20, peak_memory_bytes: 50, torch: [peer.split('/').at(-1), ...words].join(' ') }
    console.log(JSON.stringify(line))
    console.log(JSON.stringify({ skipped: 'out of memory' }))`)
  const [first, second] = await measurePytorch(setting, true)
  expect(first).toMatchObject({
    milliseconds: [3, 4],
    decodeMilliseconds: [1, 1],
    loadMilliseconds: 9,
    weightBytes: 20,
    peakMemoryBytes: 50,
  })
  const { torch: words } = first as { torch: string }
  expect(words).toMatch(/^generate\.py --model .*weights --sampling \{"schedule":\[\[1\],\[1,3\]/)
  expect(words).toMatch(/--device cuda --dtype bf16 .*--batch 1 8 --graph$/)
  expect(second).toEqual({ skipped: 'out of memory' })
})

it.each([
  [
    'there is no PyTorch',
    `console.log('{"skipped":"torch is not installed"}'); process.exit(3)`,
    'torch is not installed',
  ],
  ['it fails', `console.error('Traceback:\\nValueError: no'); process.exit(1)`, 'ValueError: no'],
  ['it dies', `process.exit(7)`, 'it ended with 7'],
])('says why there is nothing where %s', async (_, script, skipped) => {
  await python(script)
  expect(await measurePytorch(setting, false)).toEqual([{ skipped }, { skipped }])
})

it('says so where there is no Python', async () => {
  vi.stubEnv('HMAR_PYTHON', join(folder, 'nothing'))
  const [first] = await measurePytorch(setting, false)
  expect(first).toEqual({
    skipped: expect.stringContaining('is not installed (HMAR_PYTHON names another)'),
  })
})
