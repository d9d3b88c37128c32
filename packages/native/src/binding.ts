import { createRequire } from 'node:module'
import { HmarError } from '@hmar/core'

import type { NativeBinding } from './binding-types.js'
import { type Host, platformTriple, supportedTriples, thisHost } from './platform.js'

export type * from './binding-types.js'

const require = createRequire(import.meta.url)

let loaded: NativeBinding | undefined

/**
 * The native addon, loaded on first use, so that importing a package of HMAR works everywhere.
 *
 * @throws {HmarError} `ADDON_MISSING` if there is no addon for this platform, with the commands that bring it
 */
export function binding(): NativeBinding {
  // Another build of the addon, such as one with a sanitizer.
  const { HMAR_ADDON: named } = process.env
  const load = (id: string) => require(id) as NativeBinding
  loaded ??= named ? load(named) : loadBinding(thisHost(), load)
  return loaded
}

/** Tries the addon that was built in this repository, then the platform's package. */
export function loadBinding(host: Host, load: (id: string) => NativeBinding): NativeBinding {
  const triple = platformTriple(host)
  const candidates = triple ? [`../addon/hmar.${triple}.node`, `@hmar/native-${triple}`] : []
  const failures: string[] = []
  for (const candidate of candidates) {
    try {
      return load(candidate)
    } catch (cause) {
      failures.push(`${candidate}: ${firstLine(cause)}`)
    }
  }
  throw new HmarError('ADDON_MISSING', 'The native addon of HMAR could not be loaded.', {
    found: [`${host.os}-${host.cpu}, Node ${host.node}`, ...failures].join('; '),
    expected: triple ? `@hmar/native-${triple}` : `one of ${supportedTriples.join(', ')}`,
    remedy: remedy(host, triple),
  })
}

function remedy({ os, cpu }: Host, triple: string | undefined): string {
  const build = '- in a clone of the repository, with Rust: pnpm --filter @hmar/native run build:native'
  if (!triple) return `No addon is prebuilt for this platform. Build it:\n${build}`
  return [
    'Possible solutions:',
    '- install optional dependencies too: npm install --include=optional @hmar/native',
    `- if node_modules came from another machine: npm install --os=${os} --cpu=${cpu} @hmar/native`,
    build,
  ].join('\n')
}

const firstLine = (cause: unknown) => (cause instanceof Error ? cause.message : String(cause)).split('\n')[0]
