import { describe, expect, it, vi } from 'vitest'

import { loadAddon, type Modules } from './load-addon.js'
import { type Host, supportedTriples } from './platform.js'
import { fakeBinding } from './testing/fake-binding.js'

const linux: Host = { os: 'linux', cpu: 'x64', libc: { family: 'glibc', version: '2.36' }, node: '20.20.2' }
const alpine: Host = { ...linux, libc: { family: 'musl' } }
const version = '0.1.0'
const addon = { ...fakeBinding(), version: () => version }

/** A `node_modules` that holds these packages and files; a value that is an error is thrown at loading. */
const holding = (found: Readonly<Record<string, unknown>>): Modules => ({
  load(id) {
    if (found[id] instanceof Error) throw found[id]
    if (id in found) return found[id]
    throw Object.assign(new Error(`Cannot find module '${id}'\nRequire stack:\n- here`), {
      code: 'MODULE_NOT_FOUND',
    })
  },
  isInstalled: (id) => id in found,
})

const refusal = (host: Host, found: Readonly<Record<string, unknown>> = {}) => {
  try {
    loadAddon(host, version, holding(found))
  } catch (error) {
    expect(error).toMatchObject({ code: 'ADDON_MISSING' })
    return (error as Error).message
  }
  throw new Error('It was loaded.')
}

describe('loadAddon', () => {
  it('prefers the addon that was built here', () => {
    const load = vi.fn(() => addon)
    expect(loadAddon(linux, version, { load, isInstalled: () => false })).toBe(addon)
    expect(load.mock.calls).toEqual([['../addon/hmar.linux-x64-gnu.node']])
  })

  it.each<[Host, string]>([
    [linux, '@hmar/native-linux-x64-gnu'],
    [alpine, '@hmar/native-linux-x64-musl'],
    [{ ...linux, cpu: 'arm64' }, '@hmar/native-linux-arm64-gnu'],
    [{ ...alpine, cpu: 'arm64' }, '@hmar/native-linux-arm64-musl'],
    [{ os: 'darwin', cpu: 'x64', node: '22.0.0' }, '@hmar/native-darwin-x64'],
    [{ os: 'darwin', cpu: 'arm64', node: '22.0.0' }, '@hmar/native-darwin-arm64'],
    [{ os: 'win32', cpu: 'x64', node: '22.0.0' }, '@hmar/native-win32-x64-msvc'],
  ])('takes the package of the platform else: %o', (host, name) => {
    expect(loadAddon(host, version, holding({ [name]: addon }))).toBe(addon)
  })

  it('tells who left optional dependencies out what to install', () => {
    const message = refusal(linux)
    expect(message).toMatch(/^The native addon of HMAR is not installed\./)
    expect(message).toContain(
      'Found: no @hmar/native-linux-x64-gnu, on linux x64, glibc 2.36, Node 20.20.2. ' +
        'Expected: @hmar/native-linux-x64-gnu 0.1.0, an optional dependency of @hmar/native.',
    )
    expect(message).toContain('npm install --include=optional')
    expect(message).toContain('npm install @hmar/native-linux-x64-gnu@0.1.0')
    expect(message).not.toContain('Require stack')
  })

  it('recognises a node_modules from another system', () => {
    const message = refusal(linux, { '@hmar/native-darwin-arm64': addon })
    expect(message).toContain(
      'installed for another platform than this. Found: @hmar/native-darwin-arm64, on linux',
    )
    expect(message).toContain('Expected: @hmar/native-linux-x64-gnu.')
    expect(message).toContain('npm install --os=linux --cpu=x64 --libc=glibc @hmar/native')
  })

  it('tells who cloned the repository to build it, where every package is and none has a file', () => {
    const modules = { ...holding({}), isInstalled: () => true }
    expect(() => loadAddon(linux, version, modules)).toThrow(/is not installed\..*npm run build/s)
  })

  it('recognises a node_modules for another processor', () => {
    const message = refusal(
      { os: 'darwin', cpu: 'arm64', node: '22.0.0' },
      { '@hmar/native-darwin-x64': addon },
    )
    expect(message).toContain('Found: @hmar/native-darwin-x64, on darwin arm64, Node 22.0.0.')
    expect(message).toContain('npm install --os=darwin --cpu=arm64 @hmar/native')
  })

  it('recognises a node_modules for another C library', () => {
    const message = refusal(alpine, { '@hmar/native-linux-x64-gnu': addon })
    expect(message).toContain('Found: @hmar/native-linux-x64-gnu, on linux x64, musl, Node 20.20.2.')
    expect(message).toContain('npm install --os=linux --cpu=x64 --libc=musl @hmar/native')
  })

  it('says which glibc is needed where this one is too old', () => {
    const cause = new Error(
      "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.28' not found (required by /app/hmar.linux-x64-gnu.node)",
    )
    const message = refusal(
      { ...linux, libc: { family: 'glibc', version: '2.17' } },
      { '@hmar/native-linux-x64-gnu': cause },
    )
    expect(message).toContain('Found: linux x64, glibc 2.17, Node 20.20.2. Expected: glibc 2.28 or later.')
    expect(message).toContain('node:20')
  })

  it('says what the loader said of a file that it cannot load', () => {
    const cause = new Error('/app/hmar.linux-x64-gnu.node: invalid ELF header\nand more')
    const message = refusal(linux, { '@hmar/native-linux-x64-gnu': cause })
    expect(message).toContain('@hmar/native-linux-x64-gnu: /app/hmar.linux-x64-gnu.node: invalid ELF header.')
    expect(message).toContain('npm install --force @hmar/native')
  })

  it('refuses an addon of another version', () => {
    const older = { ...addon, version: () => '0.0.9' }
    const message = refusal(linux, { '@hmar/native-linux-x64-gnu': older })
    expect(message).toContain(
      'of another version than @hmar/native. Found: @hmar/native-linux-x64-gnu 0.0.9. Expected: @hmar/native-linux-x64-gnu 0.1.0.',
    )
    expect(message).toContain('npm install @hmar/native@0.1.0')
  })

  it('passes over a stale build of this repository where the right package is installed', () => {
    const stale = { ...addon, version: () => '0.0.9' }
    const found = { '../addon/hmar.linux-x64-gnu.node': stale, '@hmar/native-linux-x64-gnu': addon }
    expect(loadAddon(linux, version, holding(found))).toBe(addon)
  })

  it('names the supported platforms on any other', () => {
    const load = vi.fn()
    const freebsd = { os: 'freebsd', cpu: 'x64', node: '22.0.0' }
    expect(() => loadAddon(freebsd, version, { load, isInstalled: () => false })).toThrow(
      supportedTriples.join(', '),
    )
    expect(load).not.toHaveBeenCalled()
  })
})
