import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { HmarError } from '@hmar/core'
import { z } from 'zod'

import { isFile, isFolder } from './file-kind.js'
import { findPulledFile } from './hub-cache.js'

/** What a tokenizer's file is called where no JSON says it, in the order of preference. */
const tokenizerNames = [
  'tokenizer.safetensors',
  'vae_ch160v4096z32.safetensors',
  'vae_ch160v4096z32.pth',
  'vae.safetensors',
  'vae.pth',
]

/**
 * A tokenizer's file: the path itself, what was pulled where it is the released one's name, or in a folder the one that
 * `config.json` names, else one of the usual names.
 *
 * @internal
 * @throws {HmarError} `FILE_UNREADABLE` if there is none in the folder, with the names that were tried, or it was not pulled
 */
export async function findTokenizerFile(path: string): Promise<string> {
  if (!(await isFolder(path))) return (await findPulledFile(path)).path
  const named = await namedFile(path, 'tokenizer')
  if (named !== undefined) return named
  for (const name of tokenizerNames) {
    const file = join(path, name)
    if (await isFile(file)) return file
  }
  throw new HmarError('FILE_UNREADABLE', `There is no tokenizer in '${path}'.`, {
    expected: `a config.json that names it, or one of ${tokenizerNames.join(', ')}`,
    remedy: "Give the tokenizer's file with the option `tokenizer`.",
  })
}

const section = z.object({ file: z.string() })

/**
 * The file that a folder's `config.json` names, if it does. Whether the JSON is right the engine says when it loads the
 * file; one that belongs to another program names nothing.
 *
 * @internal
 */
export async function namedFile(folder: string, part: 'model' | 'tokenizer'): Promise<string | undefined> {
  try {
    const json: unknown = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'))
    return join(folder, z.object({ [part]: section }).parse(json)[part]!.file)
  } catch {
    return undefined
  }
}
