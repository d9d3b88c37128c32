/** What decides which build of the addon fits. */
export interface Host {
  readonly os: string
  readonly cpu: string
  readonly node: string
}

/** The platforms that addons are built for, as they stand in the addon's file name. */
export const supportedTriples = [
  'linux-x64-gnu',
  'linux-arm64-gnu',
  'darwin-x64',
  'darwin-arm64',
  'win32-x64-msvc',
] as const

/** The machine and the Node this runs on. */
export const thisHost = (): Host => ({ os: process.platform, cpu: process.arch, node: process.versions.node })

// A Linux without glibc gets that build too: what the loader then says of the missing library is in the error.
const suffixes: Readonly<Record<string, string>> = { linux: '-gnu', win32: '-msvc' }

/** The build for a host; undefined where there is none. */
export const platformTriple = ({ os, cpu }: Host) =>
  supportedTriples.find((triple) => triple === `${os}-${cpu}${suffixes[os] ?? ''}`)
