import { describe, expect, it } from 'vitest'
import { HmarError } from './error.js'
import { checkPyramid, PYRAMIDS, pyramidTokens, samePyramid } from './pyramid.js'

describe('pyramids', () => {
  it('count the tokens that the specification states', () => {
    expect(Object.values(PYRAMIDS).map(pyramidTokens)).toEqual([680, 2240, 9451])
  })

  it.each(Object.values(PYRAMIDS))('of the released models are accepted', (...pyramid) => {
    expect(checkPyramid(pyramid)).toEqual(pyramid)
  })

  it('are compared side by side', () => {
    expect(samePyramid([1, 2, 3], [1, 2, 3])).toBe(true)
    expect(samePyramid([1, 2, 3], [1, 2])).toBe(false)
    expect(samePyramid([1, 2], [1, 3])).toBe(false)
  })

  it.each([
    [[], 'at least two scales'],
    [[1], 'at least two scales'],
    [[2, 3], 'scale 1 is a single token'],
    [[1, 3, 3], 'scale 3 has side 3'],
    [[1, 2.5], 'the side of scale 2 is 2.5'],
    [[1, 4096], 'the side of scale 2 is 4096'],
    [Array.from({ length: 512 }, (_, index) => index + 1), 'it has 44870400 tokens, more than 1048576'],
  ])('%j is refused', (pyramid, reason) => {
    expect(() => checkPyramid(pyramid)).toThrow(reason)
    expect(() => checkPyramid(pyramid)).toThrow(HmarError)
  })
})
