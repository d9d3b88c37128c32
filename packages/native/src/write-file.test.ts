import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { writeFileAtomically } from './write-file.js'

describe('writeFileAtomically', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hmar-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  it('replaces what was there', async () => {
    const path = join(folder, 'note.txt')
    await writeFileAtomically(path, 'one')
    await writeFileAtomically(path, 'two')
    expect(await readFile(path, 'utf8')).toBe('two')
    expect(await readdir(folder)).toEqual(['note.txt'])
  })

  it('leaves nothing behind where it fails', async () => {
    await expect(writeFileAtomically(join(folder, 'missing', 'note.txt'), '')).rejects.toMatchObject({
      code: 'FILE_UNWRITABLE',
    })
    await expect(writeFileAtomically(folder, 'a folder cannot be replaced')).rejects.toMatchObject({
      code: 'FILE_UNWRITABLE',
    })
    expect(await readdir(folder)).toEqual([])
  })
})
