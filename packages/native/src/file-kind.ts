import { stat } from 'node:fs/promises'

/** @internal */
export const isFolder = async (path: string) => (await entryAt(path))?.isDirectory() ?? false

/** @internal */
export const isFile = async (path: string) => (await entryAt(path))?.isFile() ?? false

const entryAt = (path: string) => stat(path).catch(() => undefined)
