import { describe, expect, it } from 'vitest'

import { Resource } from './resource.js'

class Scratch extends Resource {
  constructor(
    readonly name: string,
    readonly released: string[],
  ) {
    super()
  }

  protected override release() {
    this.released.push(this.name)
  }
}

describe('Resource', () => {
  const family = () => {
    const released: string[] = []
    return { released, parent: new Scratch('parent', released), child: new Scratch('child', released) }
  }

  it('is released once, however often it is closed', async () => {
    const { parent, released } = family()
    expect(parent.closed).toBe(false)
    await Promise.all([parent.close(), parent.close()])
    await parent.close()
    expect(parent.closed).toBe(true)
    expect(released).toEqual(['parent'])
  })

  it('is released at the end of an `await using` block', async () => {
    const { parent, released } = family()
    {
      await using used = parent
      expect(used.closed).toBe(false)
    }
    expect(released).toEqual(['parent'])
  })

  it('waits for work in flight, failing work too', async () => {
    const { parent, released } = family()
    let finish!: () => void
    let fail!: (error: Error) => void
    const done = parent.whileOpen(() => new Promise<void>((resolve) => (finish = resolve)))
    const failed = parent.whileOpen(() => new Promise<void>((_, reject) => (fail = reject)))
    const closing = parent.close()
    fail(new Error('no luck'))
    await expect(failed).rejects.toThrow('no luck')
    expect(released).toEqual([])
    finish()
    await done
    await closing
    expect(released).toEqual(['parent'])
  })

  it('refuses work once it is closed', async () => {
    const { parent } = family()
    const closing = parent.close()
    await expect(parent.whileOpen(async () => 1)).rejects.toMatchObject({ code: 'CLOSED' })
    await closing
    expect(() => parent.adopt(parent)).toThrow('This Scratch was closed.')
  })

  it('closes its children first', async () => {
    const { parent, child, released } = family()
    parent.adopt(child)
    await parent.close()
    expect(child.closed).toBe(true)
    expect(released).toEqual(['child', 'parent'])
  })

  it('forgets children that closed before', async () => {
    const { parent, child, released } = family()
    parent.adopt(child)
    await child.close()
    await parent.close()
    expect(released).toEqual(['child', 'parent'])
  })
})
