import { link, mkdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { HmarError } from '@hmar/core'
import { type BytesProgress, hubRepositoryFolder } from '@hmar/native'

import { unwritable } from './hub-error.js'
import { receive } from './receive.js'
import type { RemoteFile } from './remote-file.js'
import { UnfinishedFile } from './unfinished-file.js'

/** How to download. */
export interface DownloadOptions {
  readonly signal: AbortSignal
  readonly onProgress?: ((progress: BytesProgress) => void) | undefined
  /** Tries in a row that bring nothing, before it is given up. Defaults to 5. */
  readonly tries?: number | undefined
  /** Milliseconds before the second of them; each next one waits twice as long. Defaults to 1000. */
  readonly pause?: number | undefined
}

/**
 * Downloads a file into the cache of Hugging Face's tools, going on from what has arrived before, and checks its sum.
 *
 * @returns its path in the snapshot of its commit
 * @throws {HmarError} `HUB_ACCESS_DENIED`, `HUB_FILE_MISSING`, `HUB_UNREACHABLE`, `CHECKSUM_MISMATCH`,
 *   `FILE_UNWRITABLE`; the signal's reason
 */
export async function download(remote: RemoteFile, options: DownloadOptions): Promise<string> {
  const folder = hubRepositoryFolder(remote.repository)
  const blob = join(folder, 'blobs', remote.sum)
  const path = join(folder, 'snapshots', remote.commit, remote.file)
  const main = join(folder, 'refs', 'main')
  try {
    for (const file of [blob, path, main]) await mkdir(dirname(file), { recursive: true })
    if (!(await isThere(blob, remote))) await fetchBlob(remote, blob, options)
    if (!(await isThere(path, remote))) await place(blob, path)
    await writeFile(main, remote.commit)
    return path
  } catch (cause) {
    options.signal.throwIfAborted()
    if (HmarError.isInstance(cause)) throw cause
    throw unwritable(path, (cause as Error).message, cause)
  }
}

const isThere = async (path: string, { bytes }: RemoteFile) =>
  (await stat(path).catch(() => undefined))?.size === bytes

async function fetchBlob(remote: RemoteFile, blob: string, options: DownloadOptions): Promise<void> {
  const unfinished = await UnfinishedFile.open(remote, `${blob}.incomplete`, options.signal)
  try {
    await receiveAll(unfinished, options)
    await unfinished.finish(blob)
  } finally {
    await unfinished.close()
  }
}

/** Asks again where the connection breaks, for as long as anything arrives. */
async function receiveAll(unfinished: UnfinishedFile, options: DownloadOptions): Promise<void> {
  const { signal, onProgress, tries = 5, pause = 1000 } = options
  const totalBytes = unfinished.remote.bytes
  const report = (doneBytes: number) =>
    onProgress?.({ doneBytes, totalBytes, fraction: doneBytes / totalBytes })
  let inVain = 0
  while (!unfinished.isComplete) {
    const before = unfinished.bytes
    try {
      await receive(unfinished, report, signal)
    } catch (error) {
      if (!(HmarError.isInstance(error) && error.code === 'HUB_UNREACHABLE')) throw error
      inVain = unfinished.bytes > before ? 1 : inVain + 1
      if (inVain >= tries) throw error
      await setTimeout(pause * 2 ** (inVain - 1), undefined, { signal })
    }
  }
}

/** Links the file to its blob, as Hugging Face's tools do; where links need rights, it is the blob under another name. */
async function place(blob: string, path: string): Promise<void> {
  await rm(path, { force: true })
  try {
    await symlink(relative(dirname(path), blob), path)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'EPERM') await link(blob, path)
    // Another process that fetched the same file was faster.
    else if (code !== 'EEXIST') throw cause
  }
}
