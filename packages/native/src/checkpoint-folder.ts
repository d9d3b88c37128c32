import { stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { HmarError } from '@hmar/core'

import { readCheckpointConfig } from './checkpoint-config.js'

/** What a tokenizer's file is called where no JSON says it, in the order of preference. */
const tokenizerNames = [
  'tokenizer.safetensors',
  'vae_ch160v4096z32.safetensors',
  'vae_ch160v4096z32.pth',
  'vae.safetensors',
  'vae.pth',
]

/**
 * A tokenizer's file: the path itself, or in a folder the one that `config.json` names, else one of the usual names.
 *
 * @internal
 * @throws {HmarError} `FILE_UNREADABLE` if there is none in the folder, with the names that were tried
 */
export async function findTokenizerFile(path: string): Promise<string> {
  if (!(await isFolder(path))) return path
  const { tokenizer } = await readCheckpointConfig(join(path, 'config.json'))
  if (tokenizer?.file !== undefined) return join(path, tokenizer.file)
  for (const name of tokenizerNames) {
    const file = join(path, name)
    if (await isFile(file)) return file
  }
  throw new HmarError('FILE_UNREADABLE', `There is no tokenizer in '${path}'.`, {
    expected: `a config.json that names it, or one of ${tokenizerNames.join(', ')}`,
    remedy: "Give the tokenizer's file with the option `tokenizer`.",
  })
}

/**
 * Where the JSON beside a checkpoint's file is.
 *
 * @internal
 */
export const configBeside = (file: string) => join(dirname(file), 'config.json')

/** @internal */
export const isFolder = async (path: string) => (await entryAt(path))?.isDirectory() ?? false

/** @internal */
export const isFile = async (path: string) => (await entryAt(path))?.isFile() ?? false

const entryAt = (path: string) => stat(path).catch(() => undefined)
