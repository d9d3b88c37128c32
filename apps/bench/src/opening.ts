import { execFile } from 'node:child_process'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import type { BenchDevice, BenchModel } from './cases.js'
import { type Summary, summarize } from './statistics.js'

const run = promisify(execFile)

const child = fileURLToPath(new URL('opening-child.js', import.meta.url))

/** From a model's files on disk to its first picture. */
export interface Opening {
  readonly model: BenchModel
  readonly device: BenchDevice
  /** Of all its files. */
  readonly bytes: number
  /** Milliseconds of reading every file once, in order, into the same memory. */
  readonly read: Summary
  /** Milliseconds from the process's start until the weights were loaded. */
  readonly loaded: Summary
  /** Milliseconds from the process's start to the first picture. */
  readonly firstPicture: Summary
}

/** Reads the files and opens the model in turn; the files are in the page cache from the first reading on. */
export async function measureOpening(
  model: BenchModel,
  device: BenchDevice,
  folder: string,
  rounds: number,
): Promise<Opening> {
  await readOnce(folder)
  const reads: number[] = []
  const openings: { loaded: number; firstPicture: number }[] = []
  let bytes = 0
  for (let round = 0; round < rounds; round++) {
    const begun = performance.now()
    bytes = await readOnce(folder)
    reads.push(performance.now() - begun)
    const { stdout } = await run(process.execPath, [child, JSON.stringify({ folder, device })])
    openings.push(JSON.parse(stdout))
  }
  return {
    model,
    device,
    bytes,
    read: summarize(reads),
    loaded: summarize(openings.map(({ loaded }) => loaded)),
    firstPicture: summarize(openings.map(({ firstPicture }) => firstPicture)),
  }
}

/** Reads every byte of a folder's files; how many there are. */
export async function readOnce(folder: string): Promise<number> {
  const buffer = Buffer.allocUnsafe(16 << 20)
  let total = 0
  for (const name of await readdir(folder)) {
    const file = await open(join(folder, name))
    try {
      for (;;) {
        const { bytesRead } = await file.read(buffer, 0, buffer.length, null)
        if (bytesRead === 0) break
        total += bytesRead
      }
    } finally {
      await file.close()
    }
  }
  return total
}
