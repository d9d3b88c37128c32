import { statusError, unreachable } from './hub-error.js'
import { hubOptions, type RemoteFile, reason } from './remote-file.js'
import type { UnfinishedFile } from './unfinished-file.js'

/**
 * Asks for what a file misses, and takes it in as far as it comes. From a server that does not send parts of files, all of
 * it comes again.
 *
 * @throws {HmarError} `HUB_UNREACHABLE` where it broke off; `HUB_ACCESS_DENIED`, `HUB_FILE_MISSING`, `FILE_UNWRITABLE`
 */
export async function receive(
  unfinished: UnfinishedFile,
  onBytes: (bytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { remote } = unfinished
  const { status, headers, body } = await request(unfinished, signal)
  try {
    if (status === 416 && unfinished.bytes > 0) return unfinished.restart()
    if (status !== 200 && status !== 206) throw statusError(status, remote)
    const start = status === 206 ? rangeStart(headers) : 0
    if (start !== 0 && start !== unfinished.bytes)
      throw unreachable(remote, `bytes from ${start} on, where ${unfinished.bytes} have arrived`)
    if (start === 0) unfinished.restart()
    for await (const chunk of chunksOf(body, remote, signal)) {
      if (unfinished.bytes + chunk.length > remote.bytes)
        throw unreachable(remote, `more than its ${remote.bytes} bytes`)
      await unfinished.append(chunk)
      onBytes(unfinished.bytes)
    }
  } finally {
    await body?.cancel().catch(() => undefined)
  }
  if (!unfinished.isComplete) throw unreachable(remote, `${unfinished.bytes} of its ${remote.bytes} bytes`)
}

async function request({ bytes, remote }: UnfinishedFile, signal: AbortSignal): Promise<Response> {
  const { accessToken } = hubOptions()
  const headers = {
    'accept-encoding': 'identity',
    ...(bytes > 0 && { range: `bytes=${bytes}-` }),
    ...(accessToken && { authorization: `Bearer ${accessToken}` }),
  }
  return fetch(remote.url, { headers, signal }).catch((cause) => {
    signal.throwIfAborted()
    throw unreachable(remote, reason(cause), cause)
  })
}

function rangeStart(headers: Headers): number {
  return Number(/^bytes (\d+)-/.exec(headers.get('content-range') ?? '')?.[1] ?? Number.NaN)
}

async function* chunksOf(body: Response['body'], remote: RemoteFile, signal: AbortSignal) {
  try {
    for await (const chunk of body ?? []) yield chunk
  } catch (cause) {
    signal.throwIfAborted()
    throw unreachable(remote, reason(cause), cause)
  }
}
