import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

import { platformPackage, platformTriple, supportedTriples, thisHost } from './platform.js'

const read = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'))
const { optionalDependencies, version } = read('../package.json')

describe('the platforms', () => {
  it('each have a folder and are an optional dependency', () => {
    const names = supportedTriples.map(platformPackage).sort()
    expect(Object.keys(optionalDependencies).sort()).toEqual(names)
    expect(
      readdirSync(new URL('../npm', import.meta.url))
        .map((triple) => `@hmar/native-${triple}`)
        .sort(),
    ).toEqual(names)
  })

  it.each(supportedTriples)('%s is installed where it runs, and nowhere else', (triple) => {
    const [os, cpu, abi] = triple.split('-')
    const libc = { gnu: ['glibc'], musl: ['musl'] }[abi ?? '']
    const manifest = read(`../npm/${triple}/package.json`)
    expect(manifest).toMatchObject({ name: platformPackage(triple), version, os: [os], cpu: [cpu] })
    expect(manifest.libc).toEqual(libc)
    expect(manifest.files).toEqual([`hmar.${triple}.node`])
    expect(manifest.main).toBe(`./hmar.${triple}.node`)
    expect(manifest.scripts).toBeUndefined()
  })

  it('include this one, whose addon was built', () => {
    const triple = platformTriple(thisHost())
    expect(existsSync(new URL(`../addon/hmar.${triple}.node`, import.meta.url))).toBe(true)
  })
})
