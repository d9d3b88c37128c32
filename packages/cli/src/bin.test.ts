import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { modelPath, tokenizerPath } from '@hmar/shapes'
import sharp from 'sharp'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

// The program as it is installed, with the embedded model.
const bin = fileURLToPath(new URL('../dist/bin.js', import.meta.url))
const hmar = (...words: string[]) => promisify(execFile)(process.execPath, [bin, ...words])

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hmar-bin-'))
})
afterEach(() => rm(folder, { recursive: true }))

describe('hmar', () => {
  it('makes the same pictures in two processes, whatever the batch and the threads', async () => {
    const generate = (name: string, ...words: string[]) =>
      hmar(
        'generate',
        '--label',
        'star,heart',
        '--count',
        '2',
        '--seed',
        '5',
        '--out',
        join(folder, name),
        ...words,
      )
    await Promise.all([
      generate('a', '--batch-size', '4', '--threads', '2'),
      generate('b', '--batch-size', '1', '--threads', '1'),
    ])
    const names = (await readdir(join(folder, 'a'))).sort()
    expect(names).toEqual(['heart-1.png', 'heart-2.png', 'star-1.png', 'star-2.png'])
    for (const name of names)
      expect(await readFile(join(folder, 'a', name))).toEqual(await readFile(join(folder, 'b', name)))
  })

  it('says what the embedded files are', async () => {
    expect((await hmar('info', modelPath)).stdout).toContain('6 blocks, 2 of them in each branch')
    expect((await hmar('info', tokenizerPath)).stdout).toContain('1024 codes of 16')
  })

  it('stops on Ctrl-C with 130 and leaves whole pictures only', async () => {
    const child = spawn(process.execPath, [
      bin,
      'generate',
      '--count',
      '2000',
      '--batch-size',
      '1',
      '--out',
      folder,
    ])
    const exit = once(child, 'exit')
    await vi.waitFor(async () => expect(await readdir(folder)).not.toHaveLength(0), { timeout: 20_000 })
    child.kill('SIGINT')
    expect(await exit).toEqual([130, null])
    for (const name of await readdir(folder)) {
      expect(name).toMatch(/\.png$/)
      expect((await sharp(join(folder, name)).raw().toBuffer()).length).toBe(64 * 64 * 3)
    }
  })

  it('decodes what it encoded to nearly the same picture', async () => {
    const [picture, tokens, again] = ['square.png', 'tokens.json', 'again.png'].map((name) =>
      join(folder, name),
    )
    await hmar('generate', '--label', 'square', '--out', folder)
    await hmar('encode', picture as string, '--out', tokens as string)
    await hmar('decode', tokens as string, '--out', again as string)
    const before = await sharp(picture).raw().toBuffer()
    const after = await sharp(again).raw().toBuffer()
    const squares = before.reduce((sum, byte, index) => sum + (byte - (after[index] as number)) ** 2, 0)
    expect(Math.sqrt(squares / before.length)).toBeLessThan(12)
  })
})
