import { HmarError, HmarRangeError } from '@hmar/core'
import { describe, expect, it } from 'vitest'

import { typedError } from './native-error.js'

const failure = (fields: object) =>
  new Error(JSON.stringify({ hmar: true, found: null, expected: null, remedy: null, ...fields }))

describe('typedError', () => {
  it('keeps the code and every detail', () => {
    const error = typedError(
      failure({
        code: 'TENSOR_MISMATCH',
        message: 'Two tensors differ.',
        found: '[3]',
        expected: '[4]',
        remedy: 'Convert it.',
      }),
    )
    expect(error).toBeInstanceOf(HmarError)
    expect(error).toMatchObject({
      code: 'TENSOR_MISMATCH',
      found: '[3]',
      expected: '[4]',
      remedy: 'Convert it.',
    })
    expect(error.message).toBe('Two tensors differ. Found: [3]. Expected: [4]. Convert it.')
  })

  it('makes a RangeError of an argument out of range', () => {
    const error = typedError(failure({ code: 'ARGUMENT_OUT_OF_RANGE', message: 'The side is 0.' }))
    expect(error).toBeInstanceOf(RangeError)
    expect(error).toBeInstanceOf(HmarRangeError)
    expect(error).not.toHaveProperty('found')
  })

  it.each([
    new TypeError('Failed to convert JavaScript value'),
    new Error('{"not": "ours"}'),
    new Error('{'),
    'a string',
  ])('takes anything else for a bug: %s', (cause) => {
    const error = typedError(cause)
    expect(error).toMatchObject({ code: 'INTERNAL', cause })
  })

  it('passes typed errors on', () => {
    const error = new HmarError('CLOSED', 'This model was closed.')
    expect(typedError(error)).toBe(error)
  })
})
