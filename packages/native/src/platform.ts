import { familySync, MUSL, versionSync } from 'detect-libc'

/** What decides which build of the addon fits. */
export interface Host {
  readonly os: string
  readonly cpu: string
  /** The C library, on Linux. */
  readonly libc?: { readonly family: 'glibc' | 'musl'; readonly version: string | null }
  readonly node: string
}

/** The platforms that addons are built for, as they stand in the addon's file name. */
export const supportedTriples = [
  'linux-x64-gnu',
  'linux-arm64-gnu',
  'linux-x64-musl',
  'linux-arm64-musl',
  'darwin-x64',
  'darwin-arm64',
  'win32-x64-msvc',
] as const

export type Triple = (typeof supportedTriples)[number]

/** The machine and the Node this runs on. */
export function thisHost(): Host {
  const { platform: os, arch: cpu, versions } = process
  if (os !== 'linux') return { os, cpu, node: versions.node }
  const family = familySync() === MUSL ? 'musl' : 'glibc'
  return { os, cpu, libc: { family, version: versionSync() }, node: versions.node }
}

/** The build for a host; undefined where there is none. */
export const platformTriple = (host: Host) =>
  supportedTriples.find((triple) => triple === `${host.os}-${host.cpu}${abi(host)}`)

/** The package that holds a build. */
export const platformPackage = (triple: Triple) => `@hmar/native-${triple}`

/** A host in words, e.g. `linux x64, glibc 2.36, Node 22.11.0`. */
export const describeHost = ({ os, cpu, libc, node }: Host) =>
  [`${os} ${cpu}`, libc && `${libc.family} ${libc.version ?? '(version unknown)'}`, `Node ${node}`]
    .filter(Boolean)
    .join(', ')

function abi({ os, libc }: Host): string {
  if (os === 'win32') return '-msvc'
  if (os !== 'linux') return ''
  return libc?.family === 'musl' ? '-musl' : '-gnu'
}
