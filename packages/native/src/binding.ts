import { createRequire } from 'node:module'

import { version } from '../package.json'
import type { NativeBinding } from './binding-types.js'
import { loadAddon, type Modules } from './load-addon.js'
import { thisHost } from './platform.js'

export type * from './binding-types.js'

const require = createRequire(import.meta.url)

const modules: Modules = {
  load: require,
  isInstalled(id) {
    try {
      require.resolve(`${id}/package.json`)
      return true
    } catch {
      return false
    }
  },
}

let loaded: NativeBinding | undefined

/**
 * The native addon, loaded on first use, so that importing a package of HMAR works everywhere.
 *
 * @throws {HmarError} `ADDON_MISSING` if there is none for this platform in the version of this package, with the commands
 * that bring it
 */
export function binding(): NativeBinding {
  // Another build of the addon, such as one with a sanitizer.
  const { HMAR_ADDON: named } = process.env
  loaded ??= named ? (require(named) as NativeBinding) : loadAddon(thisHost(), version, modules)
  return loaded
}
