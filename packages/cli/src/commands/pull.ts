import { releasedWeights } from '@hmar/core'
import { Command } from 'commander'

import type { Context } from '../context.js'
import { formatBytes, formatTable } from '../format.js'

interface Options {
  readonly acceptLicense: boolean
}

const listed = formatTable(
  ['  name', 'repository', 'licence'],
  releasedWeights.map(({ name, repository, license }) => [`  ${name}`, repository, license.name]),
)

export const pullCommand = (context: Context) =>
  new Command('pull')
    .description('Downloads released weights from the Hugging Face hub, once their licence is accepted.')
    .argument('<weights...>', 'names from the list below, or <owner>/<repository>/<file>')
    .option('--accept-license', 'accept the licences without being asked', false)
    .addHelpText(
      'after',
      `
Weights:
${listed}

A model brings its tokenizer along. Files go where Hugging Face's tools keep theirs (HF_HUB_CACHE, HF_HOME), in the form
they use: Python programs find them, and theirs are found here. A download that broke off is gone on with. HF_TOKEN is
sent if it is set; HF_ENDPOINT names another hub.

Examples:
  hmar pull hmar-d16
  hmar pull hmar-d16 hmar-d30 --accept-license
  hmar pull nvidia/HMAR/hmar-d20.pth
  hmar generate --model hmar-d16 --label 'golden retriever'`,
    )
    .action((words: string[], options: Options) => pull(words, options, context))

async function pull(words: readonly string[], { acceptLicense }: Options, context: Context): Promise<void> {
  const { output, signal } = context
  // The hub's client takes long to load, and only this command needs it.
  const hub = await import('../hub/index.js')
  const wanted = hub.pullables(words)
  hub.requireSomebody(wanted, acceptLicense, output)
  const files = await Promise.all(
    wanted.map(async (one) => ({ ...one, ...(await hub.describeRemoteFile(one, signal)) })),
  )
  await hub.requireConsent(files, acceptLicense, output, signal)
  const pulled = []
  for (const remote of files) {
    const { repository, commit, file, sum, bytes } = remote
    const path = await output.withProgress(`pulling ${file}`, ({ bytes: onProgress }) =>
      hub.download(remote, { signal, onProgress }),
    )
    pulled.push({ path, repository, commit, file, sum, bytes })
  }
  output.result(pulled, pulled.map(({ path, bytes }) => `${path}  ${formatBytes(bytes)}`).join('\n'))
}
