import { readdir, readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { findReleasedWeights, HmarError, type ReleasedWeights } from '@hmar/core'

import { isFile, isFolder } from './file-kind.js'

/**
 * Where Hugging Face's tools keep what they download: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, or `hub` in `HF_HOME`, else
 * in `huggingface` of the user's cache.
 *
 * @internal
 */
export function hubCacheFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = environment
  return (
    HF_HUB_CACHE ||
    HUGGINGFACE_HUB_CACHE ||
    join(HF_HOME || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface'), 'hub')
  )
}

/**
 * A repository's folder in the cache: `blobs`, `refs` and `snapshots/<commit>/<file>`.
 *
 * @internal
 */
export const hubRepositoryFolder = (repository: string): string =>
  join(hubCacheFolder(), ['models', ...repository.split('/')].join('--'))

/**
 * The file that a name of released weights stands for, which has been pulled; anything else is a path, and stays what it
 * is, as does a file or folder of such a name.
 *
 * @internal
 * @throws {HmarError} `FILE_UNREADABLE` if the weights are not on this machine
 */
export async function findPulledFile(
  name: string,
): Promise<{ readonly path: string; readonly weights?: ReleasedWeights }> {
  const weights = findReleasedWeights(name)
  if (weights === undefined || (await isFile(name)) || (await isFolder(name))) return { path: name }
  const path = await fileInCache(weights)
  if (path !== undefined) return { path, weights }
  throw new HmarError('FILE_UNREADABLE', `The released weights '${name}' are not on this machine.`, {
    expected: `${weights.file} of ${weights.repository} in ${hubCacheFolder()}`,
    remedy: `Get them with: npx @hmar/cli pull ${name}`,
  })
}

/** That of `main` as it was last seen, else any: a Python program may have pinned another commit. */
async function fileInCache({ repository, file }: ReleasedWeights): Promise<string | undefined> {
  const folder = hubRepositoryFolder(repository)
  const main = await readFile(join(folder, 'refs', 'main'), 'utf8').catch(() => '')
  const commits = await readdir(join(folder, 'snapshots')).catch(() => [])
  for (const commit of [main.trim(), ...commits]) {
    const path = join(folder, 'snapshots', commit, file)
    if (commit !== '' && (await isFile(path))) return path
  }
  return undefined
}
