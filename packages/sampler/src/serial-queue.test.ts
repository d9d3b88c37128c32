import { describe, expect, it, vi } from 'vitest'

import { SerialQueue } from './serial-queue.js'

/** Work that ends when it is told to. */
function controlled() {
  let finish!: () => void
  const done = new Promise<void>((resolve) => {
    finish = resolve
  })
  return { work: vi.fn(() => done), finish }
}

const settle = () => new Promise((resolve) => setImmediate(resolve))

describe('SerialQueue', () => {
  it('starts work when what came before has ended, in order', async () => {
    const queue = new SerialQueue()
    const [first, second, third] = [controlled(), controlled(), controlled()]
    const running = [first, second, third].map(({ work }) => queue.run(undefined, work))
    await settle()
    expect([first, second, third].map(({ work }) => work.mock.calls.length)).toEqual([1, 0, 0])
    first.finish()
    await settle()
    expect([second, third].map(({ work }) => work.mock.calls.length)).toEqual([1, 0])
    second.finish()
    third.finish()
    await Promise.all(running)
    expect(third.work).toHaveBeenCalledTimes(1)
  })

  it('goes on after work that failed', async () => {
    const queue = new SerialQueue()
    const failing = queue.run(undefined, () => Promise.reject(new Error('no luck')))
    const next = queue.run(undefined, async () => 'fine')
    await expect(failing).rejects.toThrow('no luck')
    await expect(next).resolves.toBe('fine')
  })

  it('drops work that is aborted while it waits, at once, and lets nobody overtake', async () => {
    const queue = new SerialQueue()
    const controller = new AbortController()
    const [first, dropped, last] = [controlled(), controlled(), controlled()]
    const running = queue.run(undefined, first.work)
    const waiting = queue.run(controller.signal, dropped.work)
    const behind = queue.run(undefined, last.work)
    controller.abort('enough')
    await expect(waiting).rejects.toBe('enough')
    expect(last.work).not.toHaveBeenCalled()
    first.finish()
    last.finish()
    await Promise.all([running, behind])
    expect(dropped.work).not.toHaveBeenCalled()
  })

  it('never starts what was aborted before', async () => {
    const work = vi.fn()
    await expect(new SerialQueue().run(AbortSignal.abort('enough'), work)).rejects.toBe('enough')
    expect(work).not.toHaveBeenCalled()
  })
})
