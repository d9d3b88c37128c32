import { expect, it } from 'vitest'

import { parseOptions } from './options.js'

it('measures on the CPU unless told otherwise', () => {
  expect(parseOptions([], '/repository')).toMatchObject({
    device: 'cpu',
    models: undefined,
    quick: false,
    resume: false,
    out: '/repository/bench/results',
  })
})

it('takes models in the order they are given', () => {
  const words = ['--device', 'cuda', '--model', 'd24-512', '--model', 'd16', '--quick', '--resume']
  expect(parseOptions(words, '/repository')).toMatchObject({
    device: 'cuda',
    models: ['d24-512', 'd16'],
    quick: true,
    resume: true,
  })
})

it.each([
  ['--device', 'tpu'],
  ['--model', 'd17'],
  ['--threads', '0'],
  ['--threads', '1.5'],
  ['--slow'],
  ['--help'],
])('has nothing to measure for %s %s', (...words) => {
  expect(parseOptions(words, '/repository')).toBeUndefined()
})
