import { binding, type CancelToken } from './binding.js'
import { typedError } from './native-error.js'

/** What a cancellable call listens to and reports to. */
export interface CancellationOptions<Event extends unknown[], Result> {
  /** Aborting it rejects the call with `signal.reason`; aborted already, no work starts. */
  readonly signal?: AbortSignal | undefined
  /** Gets the call's events. If it throws, the call is cancelled and rejects with what it threw. */
  readonly onEvent?: ((...event: Event) => void) | undefined
  /** Frees a result that came too late: the signal was aborted while the last piece of work ended. */
  readonly discard?: (result: Result) => void
}

/**
 * Runs a native call that can be cancelled, and turns its failures into typed errors.
 *
 * The signal itself stays on this side: the addon polls a flag, between passes, that its `abort` event sets.
 */
export async function withCancellation<Result, Event extends unknown[] = []>(
  { signal, onEvent, discard }: CancellationOptions<Event, Result>,
  call: (token: CancelToken, onEvent: ((...event: Event) => void) | undefined) => Promise<Result>,
): Promise<Result> {
  signal?.throwIfAborted()
  const token = new (binding().CancelToken)()
  let stopped: { readonly reason: unknown } | undefined
  const stop = (reason: unknown) => {
    stopped ??= { reason }
    token.cancel()
  }
  const onAbort = () => stop(signal?.reason)
  // An exception that left a callback of the addon would end the process.
  const report = (...event: Event) => {
    if (stopped) return
    try {
      onEvent?.(...event)
    } catch (error) {
      stop(error)
    }
  }

  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    const result = await call(token, onEvent && report)
    if (!stopped) return result
    discard?.(result)
  } catch (error) {
    if (!stopped) throw typedError(error)
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
  throw stopped.reason
}

/** Runs a native call that ends at once, and turns its failures into typed errors. */
export function callNative<Result>(call: () => Result): Result {
  try {
    return call()
  } catch (error) {
    throw typedError(error)
  }
}
