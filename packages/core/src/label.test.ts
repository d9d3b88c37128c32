import { describe, expect, it } from 'vitest'
import { HmarRangeError } from './error.js'
import { resolveLabel } from './label.js'

const shapes = { classes: 4, labels: ['disk', 'square', 'star', 'crescent'] }

describe('resolveLabel', () => {
  it('takes indices, names in any case, and null for the class after the last', () => {
    expect(['star', 'DISK', 1, null].map((label) => resolveLabel(label, shapes))).toEqual([2, 0, 1, 4])
  })

  it.each([-1, 4, 1.5, 2 ** 53, Number.NaN, 'moon', '1', ''])('refuses %s', (label) => {
    expect(() => resolveLabel(label, shapes)).toThrow(HmarRangeError)
  })

  it.each([
    ['stra', 'star'],
    ['cresent', 'crescent'],
    ['Squares', 'square'],
  ])('suggests for %s the label %s', (name, suggestion) => {
    expect(() => resolveLabel(name, shapes)).toThrow(`Did you mean "${suggestion}"?`)
  })

  it('suggests nothing that is far off', () => {
    expect(() => resolveLabel('helicopter', shapes)).toThrow(/null\.$/)
  })

  it('says which labels there are', () => {
    expect(() => resolveLabel(1000, { classes: 1000 })).toThrow(
      'The model has no such label. Found: 1000. Expected: a whole number from 0 to 999 or null.',
    )
  })
})
