import type { Hash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, rename, rm, stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { HmarError } from '@hmar/core'

import { unwritable } from './hub-error.js'
import { type RemoteFile, sumOf } from './remote-file.js'

/**
 * A file on its way: `<sum>.incomplete`, as Hugging Face's tools name it, who go on from it too. Every byte is written to
 * its place, so that two processes that fetch the same file do each other no harm.
 */
export class UnfinishedFile {
  readonly #handle: FileHandle
  #sum: Hash
  #bytes = 0

  private constructor(
    readonly remote: RemoteFile,
    readonly path: string,
    handle: FileHandle,
  ) {
    this.#handle = handle
    this.#sum = sumOf(remote)
  }

  /** Opens it, and takes in what is there already. */
  static async open(remote: RemoteFile, path: string, signal: AbortSignal): Promise<UnfinishedFile> {
    const unfinished = new UnfinishedFile(
      remote,
      path,
      await open(path, constants.O_RDWR | constants.O_CREAT),
    )
    try {
      await unfinished.#readBack(signal)
      await unfinished.#checkRoom()
      return unfinished
    } catch (error) {
      await unfinished.close()
      throw error
    }
  }

  /** Bytes that have arrived. */
  get bytes(): number {
    return this.#bytes
  }

  get isComplete(): boolean {
    return this.#bytes === this.remote.bytes
  }

  /** Begins at the first byte again. */
  restart(): void {
    this.#bytes = 0
    this.#sum = sumOf(this.remote)
  }

  /**
   * @throws {HmarError} `FILE_UNWRITABLE`
   */
  async append(chunk: Uint8Array): Promise<void> {
    for (let written = 0; written < chunk.length; ) {
      const rest = chunk.length - written
      const part = await this.#handle.write(chunk, written, rest, this.#bytes + written).catch((cause) => {
        throw unwritable(this.path, (cause as Error).message, cause)
      })
      written += part.bytesWritten
    }
    this.#sum.update(chunk)
    this.#bytes += chunk.length
  }

  /**
   * Gives the complete file its name, if its sum is right; else throws it away.
   *
   * @throws {HmarError} `CHECKSUM_MISMATCH`
   */
  async finish(blob: string): Promise<void> {
    await this.#handle.sync()
    const { file, repository, sum } = this.remote
    const found = this.#sum.copy().digest('hex')
    if (found !== sum) {
      await rm(this.path, { force: true })
      throw new HmarError('CHECKSUM_MISMATCH', `What arrived is not ${file} of ${repository}.`, {
        found,
        expected: sum,
        remedy: 'It was deleted. Run the command again; if it stays so, something on the way changes files.',
      })
    }
    // Another process that fetched the same file may have been faster.
    await rename(this.path, blob).catch(async (cause) => {
      if ((await stat(blob).catch(() => undefined))?.size !== this.remote.bytes) throw cause
    })
  }

  close(): Promise<void> {
    return this.#handle.close()
  }

  async #readBack(signal: AbortSignal): Promise<void> {
    const { size } = await this.#handle.stat()
    // Another version's, or two processes' of another program.
    if (size > this.remote.bytes) return this.#handle.truncate(0)
    for await (const chunk of this.#handle.createReadStream({ autoClose: false, start: 0, signal })) {
      this.#sum.update(chunk)
      this.#bytes += chunk.length
    }
  }

  async #checkRoom(): Promise<void> {
    // The folder's: a faster download of the same file may have given it its name by now.
    const { bavail, bsize } = await statfs(dirname(this.path))
    const [free, missing] = [bavail * bsize, this.remote.bytes - this.#bytes]
    if (free < missing) throw unwritable(this.path, `${free} bytes are free, ${missing} are to come`)
  }
}
