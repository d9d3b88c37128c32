import { HmarError } from '@hmar/core'

import { describeHost, type Host, platformPackage, supportedTriples, type Triple } from './platform.js'

/** What stands in the way of the addon. */
export type Obstacle =
  | { readonly kind: 'no package' }
  | { readonly kind: 'other version'; readonly id: string; readonly version: string }
  | { readonly kind: 'not loaded'; readonly cause: unknown }

const build = '- in a clone of the repository, build it: npm run build'

/** The error for a platform that no addon is built for. */
export const unsupportedPlatform = (host: Host) =>
  addonMissing('No native addon of HMAR is built for this platform.', {
    found: describeHost(host),
    expected: `one of ${supportedTriples.join(', ')}`,
    remedy: `Build it here, with Rust:\n${build}`,
  })

/**
 * The error for a platform that there is an addon for.
 *
 * @param version - that of `@hmar/native`, which its platform packages share
 * @param others - platforms whose packages are installed
 */
export function unusableAddon(
  host: Host,
  triple: Triple,
  version: string,
  obstacle: Obstacle,
  others: readonly Triple[],
): HmarError {
  const name = platformPackage(triple)
  switch (obstacle.kind) {
    case 'no package':
      return others.length > 0 ? otherPlatform(host, triple, others) : notInstalled(host, triple, version)
    case 'other version':
      return addonMissing('The native addon of HMAR is of another version than @hmar/native.', {
        found: `${obstacle.id} ${obstacle.version}`,
        expected: `${name} ${version}`,
        remedy: `Possible solutions:\n- install it in the version of @hmar/native: npm install @hmar/native@${version}\n- remove node_modules and the lockfile, and install again\n${build}`,
      })
    case 'not loaded':
      return notLoaded(host, name, obstacle.cause)
  }
}

function notInstalled(host: Host, triple: Triple, version: string): HmarError {
  const name = platformPackage(triple)
  return addonMissing('The native addon of HMAR is not installed.', {
    found: `no ${name}, on ${describeHost(host)}`,
    expected: `${name} ${version}, an optional dependency of @hmar/native`,
    remedy: [
      'Possible solutions:',
      '- install optional dependencies too: npm install --include=optional (pnpm: without --no-optional; yarn: without --ignore-optional)',
      `- install it by name: npm install ${name}@${version}`,
      '- where the lockfile was made on another platform: remove it and node_modules, and install again',
      `- in a bundle, keep @hmar/native external, or have ${name} beside the bundle`,
      build,
    ].join('\n'),
  })
}

function otherPlatform(host: Host, triple: Triple, others: readonly Triple[]): HmarError {
  const name = platformPackage(triple)
  const libc = host.libc ? ` --libc=${host.libc.family}` : ''
  return addonMissing('The native addon of HMAR is installed for another platform than this.', {
    found: `${others.map(platformPackage).join(', ')}, on ${describeHost(host)}`,
    expected: name,
    remedy: [
      'Possible solutions:',
      '- where node_modules was copied from another machine: remove it, and install here',
      `- install for this platform on any machine: npm install --os=${host.os} --cpu=${host.cpu}${libc} @hmar/native`,
      '- for several platforms at once: supportedArchitectures in the settings of pnpm or yarn',
      build,
    ].join('\n'),
  })
}

function notLoaded(host: Host, name: string, cause: unknown): HmarError {
  const message = firstLine(cause)
  const needed = /version [`']GLIBC_([\d.]+)' not found/.exec(message)?.[1]
  if (needed !== undefined)
    return addonMissing('The C library of this system is too old for the native addon of HMAR.', {
      found: describeHost(host),
      expected: `glibc ${needed} or later`,
      remedy: `Possible solutions:\n- run on a later system, or in a container of one, e.g. the image node:${host.node.split('.')[0]}\n${build}`,
      cause,
    })
  return addonMissing('The native addon of HMAR is installed but could not be loaded.', {
    found: `${describeHost(host)}; ${name}: ${message}`,
    expected: `the file of ${name} as it was published`,
    remedy: `Possible solutions:\n- install it again: npm install --force @hmar/native\n- remove node_modules and the lockfile, and install again\n${build}`,
    cause,
  })
}

const addonMissing = (sentence: string, details: ConstructorParameters<typeof HmarError>[2]) =>
  new HmarError('ADDON_MISSING', sentence, details)

const firstLine = (cause: unknown) => (cause instanceof Error ? cause.message : String(cause)).split('\n')[0]!
