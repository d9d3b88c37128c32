import { inspect } from 'node:util'
import { describe, expect, it, vi } from 'vitest'
import { HmarError, HmarRangeError } from './error.js'

describe('HmarError', () => {
  it('says what was found, what was expected and what to do, in one message', () => {
    const error = new HmarError('CHECKPOINT_CORRUPT', 'The file is truncated.', {
      found: '12 bytes',
      expected: '64 bytes',
      remedy: 'Download it again.',
    })
    expect(error.message).toBe(
      'The file is truncated. Found: 12 bytes. Expected: 64 bytes. Download it again.',
    )
    expect(error).toMatchObject({ code: 'CHECKPOINT_CORRUPT', found: '12 bytes', expected: '64 bytes' })
  })

  it('leaves out what it was not told', () => {
    const error = new HmarError('CLOSED', 'The sampler is closed.', { found: undefined })
    expect(error.message).toBe('The sampler is closed.')
    expect('found' in error).toBe(false)
    expect('cause' in error).toBe(false)
  })

  it('keeps its cause', () => {
    const cause = new Error('why')
    expect(new HmarError('INTERNAL', 'It broke.', { cause }).cause).toBe(cause)
    expect(new HmarRangeError('Too much.', { cause }).cause).toBe(cause)
  })

  it('prints its name and code, and none of its machinery', () => {
    const printed = inspect(new HmarError('CLOSED', 'The sampler is closed.'))
    expect(printed).toMatch(/^HmarError: The sampler is closed\./)
    expect(printed).toContain("code: 'CLOSED'")
    expect(printed).not.toContain('hmar.error')
  })
})

describe('HmarRangeError', () => {
  it('is a RangeError that HmarError.isInstance recognises', () => {
    const error = new HmarRangeError('The label is out of range.', { found: '1001' })
    expect(error).toBeInstanceOf(RangeError)
    expect(HmarError.isInstance(error)).toBe(true)
    expect(error.code).toBe('ARGUMENT_OUT_OF_RANGE')
    expect(error.message).toBe('The label is out of range. Found: 1001.')
  })
})

describe('HmarError.isInstance', () => {
  it('recognises the errors of another copy of the package', async () => {
    vi.resetModules()
    const other = await import('./error.js')
    const error = new other.HmarError('CLOSED', 'The sampler is closed.')
    expect(error).not.toBeInstanceOf(HmarError)
    expect(HmarError.isInstance(error)).toBe(true)
  })

  it('takes nothing else for one', () => {
    for (const value of [
      new Error('no'),
      new RangeError('no'),
      null,
      undefined,
      'CLOSED',
      { code: 'CLOSED' },
    ])
      expect(HmarError.isInstance(value)).toBe(false)
  })
})
