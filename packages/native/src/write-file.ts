import { randomBytes } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { HmarError } from '@hmar/core'

/**
 * Writes a file whole or not at all: beside its place first, then renamed into it.
 *
 * @throws {HmarError} `FILE_UNWRITABLE`; nothing is left behind
 */
export async function writeFileAtomically(path: string, content: string | Uint8Array): Promise<void> {
  const unfinished = `${path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const file = await open(unfinished, 'wx')
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(unfinished, path)
  } catch (cause) {
    await rm(unfinished, { force: true })
    throw new HmarError('FILE_UNWRITABLE', `'${path}' cannot be written: ${(cause as Error).message}`, {
      cause,
    })
  }
}
