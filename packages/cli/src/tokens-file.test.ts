import { expect, it } from 'vitest'

import { formatTokens, parseTokens } from './tokens-file.js'

it('gives back what was written', () => {
  const tokens = { scales: [Int32Array.of(7), Int32Array.of(1, 2, 3, 4)] }
  expect(JSON.stringify(formatTokens(tokens))).toBe('{"scales":[[7],[1,2,3,4]]}')
  expect(parseTokens(JSON.stringify(formatTokens(tokens)))).toEqual(tokens)
})

it.each([
  ['<html>', 'not valid JSON'],
  ['{}', 'scales'],
  ['{"scales":[]}', 'scales'],
  ['{"scales":[[1.5]]}', 'scales'],
  ['{"scales":[[-1]]}', 'scales'],
  ['{"scales":[[4294967296]]}', 'scales'],
])('refuses %s', (text, why) => {
  expect(() => parseTokens(text)).toThrow(
    expect.objectContaining({ code: 'IMAGE_INVALID', found: expect.stringContaining(why) }),
  )
})
