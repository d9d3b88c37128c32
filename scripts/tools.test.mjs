import { describe, expect, it } from 'vitest'
import { describeMissing, isOlder, missingTools } from './tools.mjs'

const complete = { node: '22.1.0', cargo: '1.99.0', cc: '14.2.0', 'apt-get': '3.0.0' }
const machine = (tools) => (command) => ({ ...complete, ...tools })[command]

describe('missingTools', () => {
  it('misses nothing on a complete machine', () => {
    expect(missingTools(machine({}), 'linux')).toEqual([])
  })

  it('names what is not there, with the command that installs it here', () => {
    const missing = missingTools(machine({ cargo: undefined, cc: undefined }), 'linux')
    expect(missing.map(({ name }) => name)).toEqual(['Rust (cargo)', 'a C linker (cc)'])
    expect(describeMissing(missing)).toContain('Rust (cargo) is not installed. To install it:\n\n    curl ')
    expect(describeMissing(missing)).toContain('sudo apt-get install -y build-essential')
  })

  it.each([
    ['darwin', 'xcode-select --install'],
    ['linux', 'sudo dnf install -y gcc'],
  ])('knows the package manager of %s', (platform, install) => {
    const probe = machine({ cc: undefined, 'apt-get': undefined, dnf: '4' })
    expect(missingTools(probe, platform)).toEqual([expect.objectContaining({ install })])
  })

  it('says what is too old', () => {
    const missing = missingTools(machine({ node: '18.20.0', cargo: '1.70.0' }), 'linux')
    expect(describeMissing(missing)).toMatch(/^Node\.js is 18\.20\.0, at least 20\.19 is needed\./)
    expect(describeMissing(missing)).toContain('    rustup update stable')
  })

  it('finds the tools that run this test', () => {
    expect(missingTools()).toEqual([])
  })
})

it.each([
  ['1.9.0', '1.89', true],
  ['1.89', '1.89.0', false],
  ['20.17.0', '20.17', false],
  ['20.9.1', '20.17', true],
  ['22.0.0', '20.17', false],
])('isOlder(%s, %s) is %s', (version, than, expected) => {
  expect(isOlder(version, than)).toBe(expected)
})
