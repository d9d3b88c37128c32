import { HmarError } from '@hmar/core'

/** What is asked for, for messages. */
export interface Wanted {
  readonly repository: string
  readonly file: string
}

/** What an answer that is not the file's bytes means, with what to do about it. */
export function statusError(status: number, { repository, file }: Wanted, cause?: unknown): HmarError {
  const found = `status ${status}`
  if (status === 401 || status === 403)
    return new HmarError('HUB_ACCESS_DENIED', `The hub does not hand over ${file} of ${repository}.`, {
      found,
      remedy:
        "Accept its owner's conditions on the repository's page if there are any, and set HF_TOKEN to a token that may read it.",
      cause,
    })
  if (status === 404)
    return new HmarError('HUB_FILE_MISSING', `The hub has no ${file} in ${repository}.`, {
      found,
      remedy: 'Private repositories look missing, too: set HF_TOKEN if this is one.',
      cause,
    })
  return unreachable({ repository, file }, found, cause)
}

/** The connection, or what came over it, is no use; another try may be. */
export const unreachable = ({ repository, file }: Wanted, found: string, cause?: unknown): HmarError =>
  new HmarError('HUB_UNREACHABLE', `${file} of ${repository} did not arrive.`, {
    found,
    remedy: 'Run the command again: it goes on from what has arrived. HF_ENDPOINT names another hub.',
    cause,
  })

/** The place for the file cannot be written to. */
export const unwritable = (path: string, found: string, cause?: unknown): HmarError =>
  new HmarError('FILE_UNWRITABLE', `'${path}' cannot be written.`, {
    found,
    remedy: 'Make room, or set HF_HUB_CACHE to a folder that can be written to. What has arrived is kept.',
    cause,
  })
