import { binding } from './binding.js'
import { callNative } from './cancellation.js'

/**
 * The version of the native addon.
 *
 * @throws {HmarError} `ADDON_MISSING` if it cannot be loaded
 */
export const addonVersion = (): string => callNative(() => binding().version())
