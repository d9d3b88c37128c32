/** Runs one piece of work at a time, in the order of the calls. */
export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve()

  /**
   * Runs work after everything that was queued before. Aborted while it waits, it never starts and the promise rejects
   * with `signal.reason`; once it has started, aborting is its own business.
   */
  async run<Result>(signal: AbortSignal | undefined, work: () => Promise<Result>): Promise<Result> {
    const previous = this.#last
    let finish!: () => void
    const finished = new Promise<void>((resolve) => {
      finish = resolve
    })
    // Those behind an aborted one still wait for those before it.
    this.#last = previous.then(() => finished)
    try {
      await settledOrAborted(previous, signal)
      return await work()
    } finally {
      finish()
    }
  }
}

async function settledOrAborted(previous: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) {
    await previous
    return
  }
  signal.throwIfAborted()
  let onAbort!: () => void
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    await Promise.race([previous, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
