/** What decides which build of the addon fits. */
export interface Host {
  readonly os: string
  readonly cpu: string
  /** The C library, on Linux. */
  readonly libc?: Libc
  readonly node: string
}

interface Libc {
  readonly family: 'glibc' | 'musl'
  readonly version?: string
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
  return { os, cpu, ...(os === 'linux' && { libc: thisLibc() }), node: versions.node }
}

/** The build for a host; undefined where there is none. */
export const platformTriple = (host: Host) =>
  supportedTriples.find((triple) => triple === `${host.os}-${host.cpu}${abi(host)}`)

/** The package that holds a build. */
export const platformPackage = (triple: Triple) => `@hmar/native-${triple}`

/** A host in words, e.g. `linux x64, glibc 2.36, Node 22.11.0`. */
export const describeHost = ({ os, cpu, libc, node }: Host) =>
  [`${os} ${cpu}`, libc && [libc.family, libc.version].filter(Boolean).join(' '), `Node ${node}`]
    .filter(Boolean)
    .join(', ')

// Node's report names the glibc it runs on; a Node without one is built for musl.
function thisLibc(): Libc {
  const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean }
  const { excludeNetwork } = report
  // Else it looks up the name of every peer of an open connection, which may take seconds.
  report.excludeNetwork = true
  const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } }
  if (excludeNetwork !== undefined) report.excludeNetwork = excludeNetwork
  const version = header.glibcVersionRuntime
  return version === undefined ? { family: 'musl' } : { family: 'glibc', version }
}

function abi({ os, libc }: Host): string {
  if (os === 'win32') return '-msvc'
  if (os !== 'linux') return ''
  return libc?.family === 'musl' ? '-musl' : '-gnu'
}
