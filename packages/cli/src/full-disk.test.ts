import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { modelPath } from '@hmar/shapes'
import sharp from 'sharp'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const bin = fileURLToPath(new URL('../dist/bin.js', import.meta.url))

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hmar-full-'))
})
afterEach(() => rm(folder, { recursive: true }))

/** Runs a command line that may write files of so many kilobytes: what goes beyond fails, as on a full disk. */
async function limited(kilobytes: number, ...words: string[]) {
  const command = ['-c', `ulimit -f ${kilobytes}; exec "$0" "$@"`, process.execPath, bin, '--json', ...words]
  const { code, stdout } = await promisify(execFile)('bash', command).catch((error) => error)
  return { code: code ?? 0, result: JSON.parse(stdout) }
}

const unwritable = { code: 1, result: { error: { code: 'FILE_UNWRITABLE' } } }

describe.skipIf(process.platform === 'win32')('a disk that is full', () => {
  it('leaves no torn checkpoint, and what was there before', async () => {
    const output = join(folder, 'model.safetensors')
    expect(await limited(100, 'convert', modelPath, output)).toMatchObject(unwritable)
    expect(await readdir(folder)).toEqual([])
    expect(await limited(1_000_000, 'convert', modelPath, output, '--dtype', 'bf16')).toMatchObject({
      code: 0,
    })
    const { size } = await stat(output)
    expect(await limited(100, 'convert', modelPath, output)).toMatchObject(unwritable)
    expect(await readdir(folder)).toEqual(['model.safetensors'])
    expect((await stat(output)).size).toBe(size)
  })

  it('leaves no torn synthetic model', async () => {
    const words = ['synthesize', '--depth', '1', join(folder, 'synthetic')]
    expect(await limited(100, ...words)).toMatchObject(unwritable)
    expect((await readdir(folder, { recursive: true })).filter((name) => name.includes('.'))).toEqual([])
  })

  it('leaves whole pictures only', async () => {
    await mkdir(join(folder, 'pictures'))
    // A picture fits, a sheet of twenty does not.
    const words = ['generate', '--count', '2', '--sheet', '--out', join(folder, 'pictures')]
    expect(await limited(16, ...words)).toMatchObject(unwritable)
    const names = await readdir(join(folder, 'pictures'))
    expect(names).toHaveLength(20)
    for (const name of names)
      expect(
        (
          await sharp(join(folder, 'pictures', name))
            .raw()
            .toBuffer()
        ).length,
      ).toBe(64 * 64 * 3)
  })
})
