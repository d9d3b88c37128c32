import { describe, expect, it } from 'vitest'

import { hmar } from './testing/hmar.js'

describe('hmar --help', () => {
  it('lists the commands, examples and exit codes', async () => {
    const { code, stdout } = await hmar(['--help'])
    expect(code).toBe(0)
    for (const word of [
      'generate',
      'edit',
      'reproduce',
      'info',
      'convert',
      'encode',
      'decode',
      'pull',
      'score',
      'synthesize',
      'devices',
      'verify',
    ])
      expect(stdout).toMatch(new RegExp(`^  ${word}\\b`, 'm'))
    expect(stdout).toContain('Exit codes:')
  })

  it.each([
    'generate',
    'edit',
    'reproduce',
    'info',
    'convert',
    'encode',
    'decode',
    'pull',
    'score',
    'synthesize',
    'devices',
    'verify',
  ])('teaches %s by examples', async (command) => {
    const { code, stdout } = await hmar([command, '--help'])
    expect(code).toBe(0)
    expect(stdout).toMatch(new RegExp(`Examples:\n  hmar ${command}`))
    expect(stdout).toContain('--json')
  })
})

describe('a command line that asks for something impossible', () => {
  it.each([
    [['generate', '--lable', 'star'], /unknown option '--lable'.*--label/s],
    [['generate', '--count', '0'], /--count.*whole number from 1/s],
    [['generate', '--seed', '18446744073709551616'], /--seed.*2\^64/s],
    [['generate', '--dtype', 'f64'], /Allowed choices are f32, bf16/],
    [['generate', '--preset', 'd16', '--schedule', 'a.yaml'], /cannot be used with/],
    [['convert', 'only.pth'], /at least one file to read/],
    [['synthesize', '--resolution', '300', 'out'], /none of 256, 512, 1024/],
    [['paint'], /unknown command 'paint'/],
    [['info'], /missing required argument 'file'/],
  ])('hmar %j exits with 2 and says why', async (words, why) => {
    const { code, stdout, stderr } = await hmar(words)
    expect(code).toBe(2)
    expect(stderr).toMatch(why)
    expect(stdout).toBe('')
  })
})

describe('a command that fails', () => {
  it('exits with 1 and says so, in one document with --json', async () => {
    const missing = ['score', 'nowhere/']
    expect(await hmar(missing)).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining("'nowhere/'"),
    })
    const { stdout } = await hmar([...missing, '--json'])
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'FILE_UNREADABLE' } })
  })

  it('shows the stack only with --verbose', async () => {
    expect((await hmar(['score', 'nowhere/'])).stderr).not.toMatch(/^\s+at /m)
    expect((await hmar(['--verbose', 'score', 'nowhere/'])).stderr).toMatch(/^\s+at /m)
  })
})
