import { readFileSync, statSync } from 'node:fs'
import { parse } from 'node:path'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { describe, expect, inject, it } from 'vitest'
import { platformPackages, publishedPackages } from '../scripts/workspace.mjs'
import { runTool } from './run-tool.mjs'
import limits from './size-limits.json' with { type: 'json' }

const tarballs = inject('tarballs')

describe.each(publishedPackages())('$name', ({ name, manifest }) => {
  it('is what publint wants', async () => {
    const file = readFileSync(tarballs[name])
    const tarball = file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength)
    const { messages, pkg } = await publint({ pack: { tarball }, strict: true })
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([])
  })

  // A command has no types.
  if (!manifest.bin)
    it('has types that are right for every way of importing it', () => {
      runTool('attw', ['--profile', 'node16', tarballs[name]])
    })

  it('holds its builds, its licence and its README, and no sources, tests or workspace ranges', () => {
    const files = fromTarball(name, '-tzf').trim().split(/\r?\n/)
    expect(files).toEqual(
      expect.arrayContaining(['package/package.json', 'package/LICENSE', 'package/README.md']),
    )
    expect(files.filter((file) => /\.(ts|test\..*)$/.test(file) && !/\.d\.[cm]?ts$/.test(file))).toEqual([])
    expect(packed(name)).not.toMatch(/workspace:|catalog:|hmar-source/)
  })
})

describe.each([...publishedPackages(), ...platformPackages()])('$name', ({ manifest }) => {
  it('runs nothing when it is installed, and is public', () => {
    const { preinstall, install, postinstall, prepare } = manifest.scripts ?? {}
    expect([preinstall, install, postinstall, prepare]).toEqual([undefined, undefined, undefined, undefined])
    expect(manifest.publishConfig.access).toBe('public')
  })
})

describe('what is downloaded and loaded', () => {
  it.each(Object.keys(tarballs))('%s is no larger than its limit in size-limits.json', (name) => {
    const { download } = limits[name.startsWith('@hmar/native-') ? 'an addon' : name] ?? limits.otherwise
    expect(statSync(tarballs[name]).size).toBeLessThan(bytes(download))
  })

  it('costs no more than size-limit.mjs says where it is imported', () => {
    runTool('size-limit', ['--config', 'checks/size-limit.mjs'])
  })
})

/** `2.5 MB` as a number. */
function bytes(text) {
  const [number, unit] = text.split(' ')
  return Number(number) * { kB: 1e3, MB: 1e6 }[unit]
}

/** The `package.json` that is published. */
const packed = (name) => fromTarball(name, '-xOzf', 'package/package.json')

// By a relative path: some takes on tar mistake the drive of an absolute one for a machine.
function fromTarball(name, operation, ...files) {
  const { dir: folder, base } = parse(tarballs[name])
  return runTool('tar', [operation, base, ...files], { folder })
}
