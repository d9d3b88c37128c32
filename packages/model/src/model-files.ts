import { readdir, readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { HmarError, releasedTokenizer } from '@hmar/core'
import { findPulledFile, findTokenizerFile, isFile, isFolder, namedFile } from '@hmar/native'

import { embeddedModel } from './shapes.js'

/**
 * What names a model: a file, a folder, `'shapes'`, released weights that were pulled (`'hmar-d16'`), or the files of a
 * next-scale and a masked training.
 */
export type ModelPath = string | readonly [nextScale: string, masked: string]

/** The files that a model is loaded from. */
export interface ModelFiles {
  /** `shapes`, or what the files are called. */
  readonly name: string
  /** One, or the next-scale file and the masked one. */
  readonly paths: readonly string[]
  /** The tokenizer's file, for the codebook and φ. */
  readonly tokenizer: string
  /** The text of the JSON that goes before the one beside the model. */
  readonly config: string | undefined
  /** Which it is, where the name tells and the file does not. */
  readonly mode?: 'var' | undefined
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
    const files = await findModelFiles({ path: modelPath, tokenizer: tokenizer ?? tokenizerPath, config })
    return { ...files, name: path }
  }
  if (typeof path === 'string') {
    const { path: pulled, weights } = await findPulledFile(path)
    if (weights?.part === 'model') {
      const files = { path: pulled, tokenizer: tokenizer ?? releasedTokenizer.name, config }
      return { ...(await findModelFiles(files)), mode: weights.mode }
    }
  }
  const paths = typeof path === 'string' ? [(await isFolder(path)) ? await fileInFolder(path) : path] : path
  const [first] = paths
  return {
    name: paths.map((file) => basename(file)).join(' + '),
    paths,
    tokenizer: await findTokenizerFile(tokenizer ?? (await folderOf(first!))),
    config: config === undefined ? undefined : await readConfig(config),
  }
}

/** The folder of a file that is there: else it would be the tokenizer beside it that is said to be missing. */
async function folderOf(file: string): Promise<string> {
  if (await isFile(file)) return dirname(file)
  throw new HmarError('FILE_UNREADABLE', `There is no model '${file}'.`)
}

async function readConfig(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((cause: Error) => {
    throw new HmarError('FILE_UNREADABLE', `The configuration '${path}' cannot be read: ${cause.message}`, {
      cause,
    })
  })
}

const modelName = /^(model|hmar|var)[^/]*\.(safetensors|pth)$/

async function fileInFolder(folder: string): Promise<string> {
  const named = await namedFile(folder, 'model')
  if (named !== undefined) return named
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
