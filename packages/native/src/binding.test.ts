import { describe, expect, it, vi } from 'vitest'

import { loadBinding } from './binding.js'
import { supportedTriples } from './platform.js'
import { fakeBinding } from './testing/fake-binding.js'

const linux = { os: 'linux', cpu: 'x64', node: '20.20.2' }

describe('loadBinding', () => {
  it('prefers the addon that was built here', () => {
    const binding = fakeBinding()
    const load = vi.fn(() => binding)
    expect(loadBinding(linux, load)).toBe(binding)
    expect(load.mock.calls).toEqual([['../addon/hmar.linux-x64-gnu.node']])
  })

  it.each([
    [{ os: 'darwin', cpu: 'arm64', node: '22.0.0' }, '@hmar/native-darwin-arm64'],
    [{ os: 'win32', cpu: 'x64', node: '22.0.0' }, '@hmar/native-win32-x64-msvc'],
    [{ os: 'linux', cpu: 'arm64', node: '22.0.0' }, '@hmar/native-linux-arm64-gnu'],
  ])('takes the package of the platform else: %o', (host, name) => {
    const binding = fakeBinding()
    const load = (id: string) => {
      if (id === name) return binding
      throw new Error(`Cannot find module '${id}'`)
    }
    expect(loadBinding(host, load)).toBe(binding)
  })

  it('says what was found, what was wanted and how to get it', () => {
    const load = (id: string) => {
      throw new Error(`Cannot find module '${id}'\nRequire stack:\n- here`)
    }
    const attempt = () => loadBinding(linux, load)
    expect(attempt).toThrow(
      expect.objectContaining({ code: 'ADDON_MISSING', expected: '@hmar/native-linux-x64-gnu' }),
    )
    expect(attempt).toThrow(/linux-x64, Node 20\.20\.2; .*Cannot find module '@hmar\/native-linux-x64-gnu'/)
    expect(attempt).toThrow('npm install --os=linux --cpu=x64 @hmar/native')
    expect(attempt).not.toThrow('Require stack')
  })

  it('names the supported platforms on any other', () => {
    const load = vi.fn()
    expect(() => loadBinding({ os: 'freebsd', cpu: 'x64', node: '22.0.0' }, load)).toThrow(
      supportedTriples.join(', '),
    )
    expect(load).not.toHaveBeenCalled()
  })
})
