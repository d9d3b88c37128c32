import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { findModelFiles } from './model-files.js'

let cache: string
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'hmar-cache-'))
  vi.stubEnv('HF_HUB_CACHE', cache)
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(cache, { recursive: true })
})

/** Puts a file where Hugging Face's tools would. */
async function pulled(repository: string, commit: string, file: string, main = commit): Promise<string> {
  const folder = join(cache, ['models', ...repository.split('/')].join('--'))
  const path = join(folder, 'snapshots', commit, file)
  await mkdir(dirname(path), { recursive: true })
  await mkdir(join(folder, 'refs'), { recursive: true })
  await writeFile(path, '')
  await writeFile(join(folder, 'refs', 'main'), main)
  return path
}
const vae = () => pulled('FoundationVision/var', 'abc', 'vae_ch160v4096z32.pth')

describe('released weights', () => {
  it('are found by their names, with their tokenizer', async () => {
    const [model, tokenizer] = [await pulled('nvidia/HMAR', 'def', 'hmar-d16.pth'), await vae()]
    expect(await findModelFiles({ path: 'hmar-d16' })).toMatchObject({ paths: [model], tokenizer })
    expect(await findModelFiles({ path: 'hmar-d16', tokenizer: model })).toMatchObject({ tokenizer: model })
  })

  it('of VAR are loaded as that', async () => {
    const model = await pulled('FoundationVision/var', 'abc', 'var_d30.pth')
    await vae()
    expect(await findModelFiles({ path: 'var-d30' })).toMatchObject({ paths: [model], mode: 'var' })
  })

  it('are taken from main, or from any commit where it has none', async () => {
    await vae()
    const old = await pulled('nvidia/HMAR', 'aaa', 'hmar-d16.pth', 'ccc')
    expect((await findModelFiles({ path: 'hmar-d16' })).paths).toEqual([old])
    const main = await pulled('nvidia/HMAR', 'ccc', 'hmar-d16.pth')
    expect((await findModelFiles({ path: 'hmar-d16' })).paths).toEqual([main])
  })

  it('that are not there are said to be missing, with the command that gets them', async () => {
    const missing = (name: string) =>
      expect.objectContaining({ code: 'FILE_UNREADABLE', remedy: expect.stringContaining(`pull ${name}`) })
    await expect(findModelFiles({ path: 'hmar-d16' })).rejects.toEqual(missing('hmar-d16'))
    await pulled('nvidia/HMAR', 'def', 'hmar-d16.pth')
    await expect(findModelFiles({ path: 'hmar-d16' })).rejects.toEqual(missing('vae_ch160v4096z32'))
  })

  it('give way to a folder of that name', async () => {
    await pulled('nvidia/HMAR', 'def', 'hmar-d16.pth')
    const before = process.cwd()
    process.chdir(cache)
    try {
      await mkdir('hmar-d16')
      for (const name of ['model.safetensors', 'tokenizer.safetensors'])
        await writeFile(join('hmar-d16', name), '')
      expect((await findModelFiles({ path: 'hmar-d16' })).paths).toEqual([
        join('hmar-d16', 'model.safetensors'),
      ])
    } finally {
      process.chdir(before)
    }
  })
})
