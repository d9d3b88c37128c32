/**
 * What kind of failure an {@link HmarError} is. The strings are public API: they never change their meaning.
 */
export const errorCodes = [
  /** A file cannot be opened or read (missing, permissions, I/O). */
  'FILE_UNREADABLE',
  /** A file cannot be written (disk full, permissions, I/O). Nothing half-written is left behind. */
  'FILE_UNWRITABLE',
  /** The bytes are not a checkpoint of a known format; the message names what they look like instead. */
  'NOT_A_CHECKPOINT',
  /** A checkpoint that is truncated, inconsistent or damaged. */
  'CHECKPOINT_CORRUPT',
  /** A checkpoint that asks for something the reader refuses to do (a foreign pickle global, a budget). */
  'CHECKPOINT_REFUSED',
  /** Tensors are missing, superfluous or of the wrong shape or type; the message lists every difference. */
  'TENSOR_MISMATCH',
  /** A weight is NaN or infinite. */
  'NON_FINITE_WEIGHT',
  /** A file changed while it was read. */
  'FILE_CHANGED',
  /** The layout or a configuration value cannot be told from the file: the caller must say. */
  'CONFIG_AMBIGUOUS',
  /** A configuration contradicts itself or its file. */
  'CONFIG_INVALID',
  /** An argument is of the wrong kind or out of its range. */
  'ARGUMENT_OUT_OF_RANGE',
  /** A schedule contradicts itself or the model it is for; the message names the scale. */
  'SCHEDULE_INVALID',
  /** A plan does not fit the model. The last line of defence: schedules are refused earlier. */
  'PLAN_INVALID',
  /** A saved session is damaged, of another version, or of another model. */
  'SESSION_INVALID',
  /** What is no recipe, or a picture that has none. */
  'RECIPE_INVALID',
  /** A recipe of another model's pictures. */
  'WEIGHTS_MISMATCH',
  /** A picture of the wrong size or form, or bytes that are no picture. */
  'IMAGE_INVALID',
  /** Weights are not downloaded before their licence is accepted. */
  'LICENSE_NOT_ACCEPTED',
  /** The hub does not let this user have the file: a token is missing, or its owner's conditions are not accepted. */
  'HUB_ACCESS_DENIED',
  /** The hub has no such repository or file. */
  'HUB_FILE_MISSING',
  /** The hub cannot be reached, breaks off, or answers what it should not. What has arrived is kept. */
  'HUB_UNREACHABLE',
  /** What was downloaded is not what the hub says it is. It was thrown away. */
  'CHECKSUM_MISMATCH',
  /** A package that was asked for by name is not installed. */
  'PACKAGE_MISSING',
  /** The native addon is not there, is of another version, or cannot be loaded on this machine. */
  'ADDON_MISSING',
  /** The device is not there, or cannot be used. */
  'DEVICE_UNAVAILABLE',
  /** Memory ran out. */
  'OUT_OF_MEMORY',
  /** The work was cancelled by its caller. */
  'CANCELLED',
  /** The object was closed before the call. */
  'CLOSED',
  /** A bug: an internal invariant broke, or a panic was caught. */
  'INTERNAL',
] as const

/** The stable name of a kind of failure, e.g. `CHECKPOINT_CORRUPT`. */
export type HmarErrorCode = (typeof errorCodes)[number]

/** What helps a person to act on a failure, beside its sentence. */
export interface HmarErrorDetails {
  /** What was found. */
  readonly found?: string | undefined
  /** What was expected instead. */
  readonly expected?: string | undefined
  /** What to do about it: one sentence, or the command to run. */
  readonly remedy?: string | undefined
  /** The error that led to this one. */
  readonly cause?: unknown
}

// A registered symbol rather than `instanceof`: two installs of this package recognise each other's errors.
const marker = Symbol.for('hmar.error')

/**
 * A failure with a stable {@link HmarErrorCode | code}. Its `message` is complete: the sentence, what was found,
 * what was expected and what to do.
 */
export class HmarError extends Error {
  override readonly name: string = 'HmarError'
  readonly code: HmarErrorCode
  declare readonly found?: string
  declare readonly expected?: string
  declare readonly remedy?: string

  constructor(code: HmarErrorCode, sentence: string, details: HmarErrorDetails = {}) {
    super(formatMessage(sentence, details), causeOf(details))
    this.code = code
    assignDetails(this, details)
  }

  /** @internal */
  get [marker](): true {
    return true
  }

  /**
   * Whether a caught value is an error of HMAR's, a {@link HmarRangeError} included. Unlike `instanceof` it also
   * recognises errors of another installed copy of this package.
   */
  static isInstance(error: unknown): error is HmarError {
    return typeof error === 'object' && error !== null && marker in error
  }
}

/**
 * An argument out of its range: a label, a count, a seed, an infinite guidance. It is thrown before any work, and
 * `HmarError.isInstance` is true for it.
 */
export class HmarRangeError extends RangeError {
  override readonly name: string = 'HmarRangeError'
  readonly code: HmarErrorCode = 'ARGUMENT_OUT_OF_RANGE'
  declare readonly found?: string
  declare readonly expected?: string
  declare readonly remedy?: string

  constructor(sentence: string, details: HmarErrorDetails = {}) {
    super(formatMessage(sentence, details), causeOf(details))
    assignDetails(this, details)
  }

  /** @internal */
  get [marker](): true {
    return true
  }
}

function formatMessage(sentence: string, { found, expected, remedy }: HmarErrorDetails): string {
  return [
    sentence,
    found !== undefined && `Found: ${found}.`,
    expected !== undefined && `Expected: ${expected}.`,
    remedy,
  ]
    .filter(Boolean)
    .join(' ')
}

function causeOf({ cause }: HmarErrorDetails): ErrorOptions {
  return cause === undefined ? {} : { cause }
}

function assignDetails(error: object, { found, expected, remedy }: HmarErrorDetails): void {
  for (const [key, value] of Object.entries({ found, expected, remedy }))
    if (value !== undefined) Object.assign(error, { [key]: value })
}
