import { readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { HmarError } from '@hmar/core'
import { configBeside, findTokenizerFile, isFile, isFolder, readCheckpointConfig } from '@hmar/native'

import { embeddedModel } from './shapes.js'

/** What names a model: a file, a folder, `'shapes'`, or the files of a next-scale and a masked training. */
export type ModelPath = string | readonly [nextScale: string, masked: string]

/** The files that a model is loaded from. */
export interface ModelFiles {
  /** One, or the next-scale file and the masked one. */
  readonly paths: readonly string[]
  /** The tokenizer's file, for the codebook and φ. */
  readonly tokenizer: string
  /** The JSON that says what shapes cannot; it need not be there. */
  readonly config: string
}

/** What the caller named. */
export interface NamedFiles {
  readonly path: ModelPath
  readonly tokenizer?: string | undefined
  readonly config?: string | undefined
}

/**
 * Finds the files of a model.
 *
 * @throws {HmarError} `PACKAGE_MISSING` for `'shapes'` where it is not installed; `FILE_UNREADABLE` if a folder has no
 *   model, or there is no tokenizer beside it; `CONFIG_AMBIGUOUS` if a folder has several models
 */
export async function findModelFiles({ path, tokenizer, config }: NamedFiles): Promise<ModelFiles> {
  if (path === 'shapes') {
    const { modelPath, tokenizerPath } = await embeddedModel()
    return findModelFiles({ path: modelPath, tokenizer: tokenizer ?? tokenizerPath, config })
  }
  const paths = typeof path === 'string' ? [(await isFolder(path)) ? await fileInFolder(path) : path] : path
  const [first] = paths
  return {
    paths,
    tokenizer: await findTokenizerFile(tokenizer ?? (await folderOf(first!))),
    config: config ?? configBeside(first!),
  }
}

/** The folder of a file that is there: else it would be the tokenizer beside it that is said to be missing. */
async function folderOf(file: string): Promise<string> {
  if (await isFile(file)) return dirname(file)
  throw new HmarError('FILE_UNREADABLE', `There is no model '${file}'.`)
}

const modelName = /^(model|hmar|var)[^/]*\.(safetensors|pth)$/

async function fileInFolder(folder: string): Promise<string> {
  const { model } = await readCheckpointConfig(join(folder, 'config.json'))
  if (model?.file !== undefined) return join(folder, model.file)
  const names = (await readdir(folder)).filter((name) => modelName.test(name)).sort()
  if (names.length === 1) return join(folder, names[0]!)
  if (names.length > 1)
    throw new HmarError('CONFIG_AMBIGUOUS', `There are several models in '${folder}'.`, {
      found: names.join(', '),
      remedy: 'Name the file, or have a config.json name it: { "model": { "file": … } }.',
    })
  throw new HmarError('FILE_UNREADABLE', `There is no model in '${folder}'.`, {
    expected: 'a config.json that names it, or model.safetensors, hmar-d16.pth, var_d16.pth or the like',
  })
}
