import { expect, it } from 'vitest'

import { parseOptions } from './options.js'

const parse = (...words: string[]) => parseOptions(words, '/repository')

it('has defaults', () => {
  expect(parse()).toMatchObject({ device: 'cpu', sizes: undefined, batches: undefined, from: undefined })
})

it('takes sizes and batches', () => {
  const words = ['--device', 'cuda', '--size', 'd24', '--size', 'd24-1024', '--batch', '4']
  expect(parse(...words)).toMatchObject({ device: 'cuda', sizes: ['d24', 'd24-1024'], batches: [4] })
})

it('refuses what makes no sense', () => {
  for (const words of [['--device', 'tpu'], ['--size', 'd7'], ['--batch', '0'], ['--batch', 'x'], ['--fast']])
    expect(parse(...words)).toBeUndefined()
})
