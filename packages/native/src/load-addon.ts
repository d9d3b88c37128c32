import { type Obstacle, unsupportedPlatform, unusableAddon } from './addon-missing.js'
import type { NativeBinding } from './binding-types.js'
import { type Host, platformPackage, platformTriple, supportedTriples } from './platform.js'

/** How modules are found: `require`, or a test's stand-in. */
export interface Modules {
  /** Throws an error with `code: 'MODULE_NOT_FOUND'` where there is none. */
  load(id: string): unknown
  isInstalled(id: string): boolean
}

/**
 * Loads the addon that was built in this repository, or else the platform's package.
 *
 * @param version - that of `@hmar/native`, which the addon has to share
 * @throws {HmarError} `ADDON_MISSING`
 */
export function loadAddon(host: Host, version: string, modules: Modules): NativeBinding {
  const triple = platformTriple(host)
  if (!triple) throw unsupportedPlatform(host)

  let obstacle: Obstacle = { kind: 'no package' }
  for (const id of [`../addon/hmar.${triple}.node`, platformPackage(triple)]) {
    try {
      const addon = modules.load(id) as NativeBinding
      const found = addon.version()
      if (found === version) return addon
      obstacle = { kind: 'other version', id, version: found }
    } catch (cause) {
      if (!isNotFound(cause)) obstacle = { kind: 'not loaded', cause }
    }
  }
  const installed = supportedTriples.filter((other) => modules.isInstalled(platformPackage(other)))
  // A clone has the packages of all platforms, this one's too: without a build they are empty.
  const others = installed.includes(triple) ? [] : installed
  throw unusableAddon(host, triple, version, obstacle, others)
}

const isNotFound = (cause: unknown) =>
  cause instanceof Error && 'code' in cause && cause.code === 'MODULE_NOT_FOUND'
