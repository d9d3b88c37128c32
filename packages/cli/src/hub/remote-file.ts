import { createHash, type Hash } from 'node:crypto'
import { HmarError } from '@hmar/core'
import { HUB_URL, HubApiError, modelInfo, pathsInfo } from '@huggingface/hub'
import { z } from 'zod'

import { statusError, unreachable, type Wanted } from './hub-error.js'

/** A file as the hub describes it. */
export interface RemoteFile extends Wanted {
  /** The commit that `main` is at. */
  readonly commit: string
  /** Its sum, by which Hugging Face's tools name it: SHA-256 of large files, git's SHA-1 of small ones. */
  readonly sum: string
  readonly bytes: number
  readonly url: string
  /** The licence that the repository states, in its own words. */
  readonly statedLicense: string | undefined
}

/** Where the hub is, and who asks. */
export function hubOptions(environment: NodeJS.ProcessEnv = process.env) {
  const { HF_ENDPOINT, HF_TOKEN } = environment
  return { hubUrl: (HF_ENDPOINT || HUB_URL).replace(/\/+$/, ''), accessToken: HF_TOKEN || undefined }
}

/** What is printed: a hub's text must not steer a terminal. */
const lineSchema = z.string().regex(/^\P{C}{1,200}$/u)
const commitSchema = z.string().regex(/^[0-9a-f]{40}$/)
const infoSchema = z.object({
  sha: commitSchema,
  cardData: z
    .object({ license: lineSchema.optional(), license_name: lineSchema.optional() })
    .optional()
    .catch(undefined),
})
const pathSchema = z.object({
  type: z.literal('file'),
  oid: commitSchema,
  size: z.number().int().nonnegative(),
  lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.number().int().nonnegative() }).optional(),
})

/**
 * Asks the hub about a file.
 *
 * @throws {HmarError} `HUB_ACCESS_DENIED`, `HUB_FILE_MISSING`, `HUB_UNREACHABLE`; the signal's reason
 */
export async function describeRemoteFile(wanted: Wanted, signal: AbortSignal): Promise<RemoteFile> {
  const { repository, file } = wanted
  const { hubUrl, accessToken } = hubOptions()
  const options = {
    hubUrl,
    ...(accessToken && { accessToken }),
    fetch: ((url, init) => fetch(url, { ...init, signal })) as typeof fetch,
  }
  try {
    const { sha, cardData } = infoSchema.parse(
      await modelInfo({
        ...options,
        name: repository,
        revision: 'main',
        additionalFields: ['sha', 'cardData'],
      }),
    )
    const found = await pathsInfo({
      ...options,
      repo: { type: 'model', name: repository },
      revision: sha,
      paths: [file],
    })
    if (found.length === 0) throw statusError(404, wanted)
    const { oid, size, lfs } = pathSchema.parse(found[0])
    return {
      ...wanted,
      commit: sha,
      sum: lfs?.oid ?? oid,
      bytes: lfs?.size ?? size,
      url: `${hubUrl}/${repository}/resolve/${sha}/${file.split('/').map(encodeURIComponent).join('/')}`,
      statedLicense: cardData?.license_name ?? cardData?.license,
    }
  } catch (cause) {
    signal.throwIfAborted()
    if (HmarError.isInstance(cause)) throw cause
    if (cause instanceof HubApiError) throw statusError(cause.statusCode, wanted, cause)
    if (cause instanceof z.ZodError) throw unreachable(wanted, 'an answer that is not a hub’s', cause)
    throw unreachable(wanted, reason(cause), cause)
  }
}

/** What `fetch` hides in an error's cause. */
export function reason(error: unknown): string {
  const { message, cause } = error as Error
  return cause instanceof Error && cause.message !== '' ? cause.message : message
}

/** What the file's sum is computed with. */
export function sumOf({ sum, bytes }: RemoteFile): Hash {
  return sum.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${bytes}\0`)
}
