import type { WriteStream } from 'node:tty'
import type { BytesProgress } from '@hmar/native'

import { formatBytes } from './format.js'

/** Shows how far a long call has come. */
export interface Progress {
  /**
   * @param fraction - of the work, 0 to 1
   * @param note - what stands behind the bar
   */
  readonly update: (fraction: number, note: string) => void
  /** The same for files being read or written. */
  readonly bytes: (progress: BytesProgress) => void
}

const width = 28
const interval = 50

/**
 * Runs something that takes long under a bar on one line of a terminal, redrawn at most 20 times a second and gone in
 * the end. Elsewhere than on a terminal nothing is drawn.
 */
export async function withProgressBar<Result>(
  terminal: WriteStream | undefined,
  title: string,
  work: (progress: Progress) => Promise<Result>,
): Promise<Result> {
  let drawn = Number.NEGATIVE_INFINITY
  const update = (fraction: number, note: string) => {
    const now = performance.now()
    if (!terminal || (now - drawn < interval && fraction < 1)) return
    drawn = now
    const filled = Math.round(fraction * width)
    const bar = '█'.repeat(filled) + '░'.repeat(width - filled)
    const line = `${title} ${bar} ${`${Math.floor(fraction * 100)}%`.padStart(4)}  ${note}`
    terminal.write(`\r\u001B[K${line.slice(0, terminal.columns - 1)}`)
  }
  const bytes = ({ fraction, doneBytes, totalBytes }: BytesProgress) =>
    update(fraction, `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`)
  try {
    return await work({ update, bytes })
  } finally {
    terminal?.write('\r\u001B[K')
  }
}
