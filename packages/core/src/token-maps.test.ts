import { describe, expect, it } from 'vitest'
import { HmarError, HmarRangeError } from './error.js'
import { flattenTokens, unflattenTokens } from './token-maps.js'

const pyramid = [1, 2]
const maps = (...scales: number[][]) => ({ scales: scales.map((scale) => Int32Array.from(scale)) })

describe('token maps', () => {
  it('flatten coarse to fine and back, into memory of their own', () => {
    const flat = flattenTokens(maps([7], [1, 2, 3, 0]), pyramid, 8)
    expect([...flat]).toEqual([7, 1, 2, 3, 0])
    const back = unflattenTokens(flat, pyramid)
    flat.fill(0)
    expect(back).toEqual(maps([7], [1, 2, 3, 0]))
  })

  it.each([
    [maps([7]), 'Found: 1 scales. Expected: 2 scales with sides 1, 2.'],
    [maps([7], [1, 2, 3]), 'The token map of scale 2 does not fit the pyramid. Found: 3 tokens.'],
  ])('that do not fit the pyramid are refused', (tokens, message) => {
    expect(() => flattenTokens(tokens, pyramid, 8)).toThrow(message)
    expect(() => flattenTokens(tokens, pyramid, 8)).toThrow(HmarError)
  })

  it.each([-1, 8])('with the token %i of another codebook are refused', (token) => {
    const flatten = () => flattenTokens(maps([7], [1, 2, token, 0]), pyramid, 8)
    expect(flatten).toThrow(HmarRangeError)
    expect(flatten).toThrow(`Token 2 of scale 2 is not in the codebook. Found: ${token}. Expected: 0 to 7.`)
  })

  it('cannot be cut out of too few tokens', () => {
    expect(() => unflattenTokens(new Int32Array(4), pyramid)).toThrow('Found: 4 tokens. Expected: 5 tokens')
  })
})
