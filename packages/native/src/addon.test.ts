import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

import { binding } from './binding.js'
import { addonVersion, callNative, inspectCheckpoint, inspectDevices, withCancellation } from './index.js'

describe('the addon', () => {
  it('has the version of its package', () => {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
      version: string
    }
    expect(addonVersion()).toBe(version)
  })

  it('always has the CPU', () => {
    const cpu = inspectDevices().find(({ kind }) => kind === 'cpu')
    expect(cpu).toMatchObject({ id: 'cpu', available: true })
    expect(cpu?.threads).toBeGreaterThan(0)
  })

  it('throws where Rust panics at once, and goes on', () => {
    expect(() => callNative(() => binding().panicAtOnceForTest())).toThrow(
      expect.objectContaining({ code: 'INTERNAL', message: expect.stringContaining('asked for by a test') }),
    )
    expect(inspectDevices()).not.toEqual([])
  })

  it('rejects where Rust panics, and goes on', async () => {
    await expect(withCancellation({}, () => binding().panicForTest())).rejects.toMatchObject({
      code: 'INTERNAL',
    })
    expect(inspectDevices()).not.toEqual([])
  })

  it('says by code what is wrong with a file', async () => {
    await expect(inspectCheckpoint(join(tmpdir(), 'no-such-checkpoint.pth'))).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
    })
  })
})
