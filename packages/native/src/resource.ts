import { HmarError } from '@hmar/core'

/**
 * Something that holds native memory until it is closed.
 *
 * Closing closes the resources that belong to this one first, waits for work in flight, then frees the memory.
 * Works with `await using`.
 */
export abstract class Resource implements AsyncDisposable {
  readonly #parents = new Set<Resource>()
  readonly #children = new Set<Resource>()
  readonly #work = new Set<Promise<unknown>>()
  #closing: Promise<void> | undefined

  /** True from the first call of `close()` on: nothing new is started. */
  get closed(): boolean {
    return this.#closing !== undefined
  }

  /** Waits for work in flight and frees the memory. Calling it again waits for the same. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** As {@link close}: for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Frees the native memory. Called once, when nothing uses it any more. */
  protected abstract release(): void

  /**
   * Runs work that `close()` waits for.
   *
   * @internal
   * @throws {HmarError} `CLOSED` if the resource was closed
   */
  async whileOpen<Result>(work: () => Promise<Result>): Promise<Result> {
    this.assertOpen()
    const running = work()
    this.#work.add(running)
    try {
      return await running
    } finally {
      this.#work.delete(running)
    }
  }

  /**
   * Closes `child` when this closes.
   *
   * @internal
   */
  adopt(child: Resource): void {
    this.assertOpen()
    this.#children.add(child)
    child.#parents.add(this)
  }

  /** @internal */
  assertOpen(): void {
    if (!this.closed) return
    const name = this.constructor.name
    throw new HmarError('CLOSED', `This ${name} was closed.`, {
      remedy: `Load another ${name}, or close it later.`,
    })
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#children].map((child) => child.close()))
    await Promise.allSettled(this.#work)
    for (const parent of this.#parents) parent.#children.delete(this)
    this.release()
  }
}
