import { HmarError, type HmarErrorCode, HmarRangeError } from '@hmar/core'

/** An error's fields as the addon writes them into a message. */
interface NativeFailure {
  readonly hmar: true
  readonly code: HmarErrorCode
  readonly message: string
  readonly found: string | null
  readonly expected: string | null
  readonly remedy: string | null
}

/** Turns what the addon threw into a typed error. Anything it did not write itself is a bug: `INTERNAL`. */
export function typedError(cause: unknown): Error {
  if (HmarError.isInstance(cause)) return cause
  const failure = parseFailure(cause)
  if (failure === undefined) {
    const message = cause instanceof Error ? cause.message : String(cause)
    return new HmarError('INTERNAL', `The native addon failed: ${message}`, { cause })
  }
  const { code, message, found, expected, remedy } = failure
  const details = { found: found ?? undefined, expected: expected ?? undefined, remedy: remedy ?? undefined }
  return code === 'ARGUMENT_OUT_OF_RANGE'
    ? new HmarRangeError(message, details)
    : new HmarError(code, message, details)
}

function parseFailure(cause: unknown): NativeFailure | undefined {
  if (!(cause instanceof Error) || !cause.message.startsWith('{')) return undefined
  try {
    const parsed: unknown = JSON.parse(cause.message)
    return isFailure(parsed) ? parsed : undefined
  } catch {
    return undefined
  }
}

const isFailure = (value: unknown): value is NativeFailure =>
  typeof value === 'object' && value !== null && 'hmar' in value && value.hmar === true
