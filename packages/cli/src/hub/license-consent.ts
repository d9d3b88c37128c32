import { HmarError } from '@hmar/core'

import type { Output } from '../output.js'
import type { Pullable } from './pullable.js'
import { hubOptions, type RemoteFile } from './remote-file.js'

/**
 * Refuses where nobody accepted the licences, and nobody can be asked.
 *
 * @throws {HmarError} `LICENSE_NOT_ACCEPTED`
 */
export function requireSomebody(wanted: readonly Pullable[], accepted: boolean, output: Output): void {
  if (accepted || output.canAsk) return
  const names = wanted.map(({ repository, license }) => license?.name ?? `that of ${repository}`)
  throw notAccepted('nobody at a terminal to ask', names)
}

/**
 * Names the licences of what is about to be downloaded, and asks for consent unless it was given beforehand.
 *
 * @throws {HmarError} `LICENSE_NOT_ACCEPTED`; the signal's reason
 */
export async function requireConsent(
  files: readonly (Pullable & RemoteFile)[],
  accepted: boolean,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const { hubUrl } = hubOptions()
  for (const { file, repository, license, statedLicense } of files) {
    const terms = license ? `${license.name}. ${license.summary}` : (statedLicense ?? 'no licence is stated')
    output.note(`${file}: ${terms}\n  ${hubUrl}/${repository}`)
  }
  const question = files.length === 1 ? 'Do you accept this licence?' : 'Do you accept these licences?'
  if (accepted || (await output.ask(question, signal))) return
  throw notAccepted(
    'another answer than yes',
    files.map(
      ({ license, statedLicense, repository }) => license?.name ?? statedLicense ?? `that of ${repository}`,
    ),
  )
}

const notAccepted = (found: string, names: readonly string[]) =>
  new HmarError('LICENSE_NOT_ACCEPTED', 'Nothing was downloaded: the licence was not accepted.', {
    found,
    expected: `consent to: ${[...new Set(names)].join(', ')}`,
    remedy: 'Read the licence; if you accept it, run the command with --accept-license.',
  })
