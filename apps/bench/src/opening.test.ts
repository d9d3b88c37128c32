import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'

import { readOnce } from './opening.js'

it('reads every byte of every file, however large', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hmar-opening-'))
  try {
    await writeFile(join(folder, 'a'), Buffer.alloc((16 << 20) + 3))
    await writeFile(join(folder, 'b'), Buffer.alloc(5))
    expect(await readOnce(folder)).toBe((16 << 20) + 8)
  } finally {
    await rm(folder, { recursive: true })
  }
})
