import { HmarError } from '@hmar/core'
import { beforeEach, describe, expect, it, vi } from 'vitest'

import { withCancellation } from './cancellation.js'
import { fakeBinding, nativeFailure } from './testing/fake-binding.js'

vi.mock('./binding.js', () => ({ binding: () => fakeBinding() }))

const cancelled = () => nativeFailure('CANCELLED', 'cancelled')

/** A native call that runs until its token is cancelled. */
const untilCancelled = (token: { cancel(): void }) =>
  new Promise<never>((_, reject) => {
    const { cancel } = token
    token.cancel = () => {
      cancel.call(token)
      setTimeout(() => reject(cancelled()), 1)
    }
  })

describe('withCancellation', () => {
  let controller: AbortController
  beforeEach(() => {
    controller = new AbortController()
  })

  it('gives the result of a call that nobody cancels', async () => {
    await expect(withCancellation({ signal: controller.signal }, async () => 7)).resolves.toBe(7)
  })

  it('starts no work if the signal was aborted before', async () => {
    const reason = new Error('changed my mind')
    controller.abort(reason)
    const call = vi.fn()
    await expect(withCancellation({ signal: controller.signal }, call)).rejects.toBe(reason)
    expect(call).not.toHaveBeenCalled()
  })

  it('cancels the work and rejects with the reason of the signal', async () => {
    const running = withCancellation({ signal: controller.signal }, untilCancelled)
    controller.abort('enough')
    await expect(running).rejects.toBe('enough')
  })

  it('rejects with the reason, and frees the result, if the work ended in the meantime', async () => {
    const discard = vi.fn()
    const running = withCancellation({ signal: controller.signal, discard }, async () => 'late')
    controller.abort('enough')
    await expect(running).rejects.toBe('enough')
    expect(discard).toHaveBeenCalledWith('late')
  })

  it('cancels the work and rejects with what a listener threw', async () => {
    const mistake = new Error('in the listener')
    const onEvent = vi.fn((_: number): void => {
      throw mistake
    })
    const running = withCancellation({ onEvent }, (token, report) => {
      const work = untilCancelled(token)
      report?.(1)
      report?.(2)
      return work
    })
    await expect(running).rejects.toBe(mistake)
    expect(onEvent).toHaveBeenCalledTimes(1)
  })

  it('leaves no listener on the signal', async () => {
    const remove = vi.spyOn(controller.signal, 'removeEventListener')
    await withCancellation({ signal: controller.signal }, async () => 0)
    expect(remove).toHaveBeenCalledTimes(1)
  })

  it('turns failures into typed errors', async () => {
    const failing = withCancellation({}, async () => {
      throw nativeFailure('CHECKPOINT_CORRUPT', 'The file ends early.')
    })
    const error = await failing.catch((caught: unknown) => caught)
    expect(HmarError.isInstance(error)).toBe(true)
    expect(error).toMatchObject({ code: 'CHECKPOINT_CORRUPT', message: 'The file ends early.' })
  })
})
