import { CommanderError } from 'commander'
import { expect, it } from 'vitest'

import { createProgram } from './program.js'

/** What a command line asks for: which work, with which options. */
async function asked(...words: string[]) {
  const calls: [string, unknown][] = []
  const called = (name: string) => async (options: unknown) => {
    calls.push([name, options])
  }
  const program = createProgram('/repository', {
    generation: called('generation'),
    kernels: called('kernels'),
    compare: called('compare'),
  })
  for (const command of [program, ...program.commands])
    command.configureOutput({ writeOut: () => {}, writeErr: () => {} })
  await program.parseAsync(words, { from: 'user' })
  return calls
}

it('measures generation on the CPU unless told otherwise', async () => {
  const defaults = { device: 'cpu', quick: false, resume: false, out: '/repository/bench/results' }
  expect(await asked()).toEqual([['generation', expect.objectContaining(defaults)]])
})

it('takes models in the order they are given', async () => {
  const words = ['--device', 'cuda', '--model', 'd24-512', '--model', 'd16', '--quick', '--resume']
  const options = { device: 'cuda', model: ['d24-512', 'd16'], quick: true, resume: true }
  for (const line of [words, ['generation', ...words]])
    expect(await asked(...line)).toEqual([['generation', expect.objectContaining(options)]])
})

it('takes sizes and batches to compare', async () => {
  const words = ['--device', 'cuda', '--size', 'd24', '--size', 'd24-1024', '--batch', '4', '--batch', '1']
  const options = { device: 'cuda', size: ['d24', 'd24-1024'], batch: [4, 1], threads: expect.any(Number) }
  expect(await asked('compare', ...words)).toEqual([['compare', expect.objectContaining(options)]])
})

it('times kernels', async () => {
  expect(await asked('kernels', '--quick', '--out', 'here')).toEqual([
    ['kernels', { quick: true, out: 'here' }],
  ])
})

it.each([
  ['--device', 'tpu'],
  ['--model', 'd17'],
  ['--threads', '0'],
  ['--threads', '1.5'],
  ['--slow'],
  ['kernels', '--device', 'cpu'],
  ['compare', '--size', 'd7'],
  ['compare', '--batch', '0'],
  ['compare', '--batch', 'x'],
  ['compare', '--quick'],
  ['nothing-of-that-name'],
])('refuses %s %s', async (...words) => {
  const refusal = await asked(...words).catch((error: unknown) => error)
  expect(refusal).toBeInstanceOf(CommanderError)
  expect(refusal).toMatchObject({ exitCode: 1 })
})

it('explains itself', async () => {
  for (const words of [['--help'], ['compare', '--help']])
    await expect(asked(...words)).rejects.toMatchObject({ exitCode: 0 })
})
