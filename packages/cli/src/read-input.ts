import { readFile } from 'node:fs/promises'
import { buffer } from 'node:stream/consumers'
import { HmarError } from '@hmar/core'

/**
 * Reads a file; `-` is standard input.
 *
 * @throws {HmarError} `FILE_UNREADABLE`
 */
export async function readInput(path: string): Promise<Buffer> {
  try {
    return path === '-' ? await buffer(process.stdin) : await readFile(path)
  } catch (cause) {
    throw new HmarError('FILE_UNREADABLE', `'${path}' cannot be read: ${(cause as Error).message}`, { cause })
  }
}
