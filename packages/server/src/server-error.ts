import { HmarError, type HmarErrorCode, type HmarErrorDetails } from '@hmar/core'

/** What kind of failure of serving it is, with its HTTP status. The names never change their meaning. */
const statuses = {
  /** There is nothing at this address. */
  NOT_FOUND: 404,
  /** The body is no JSON, or not of the form that is asked for. */
  REQUEST_INVALID: 400,
  /** The body took too long to come. */
  BODY_TIMED_OUT: 408,
  /** The body has too many bytes. */
  BODY_TOO_LARGE: 413,
  /** The picture has too many pixels; none was decoded. */
  PICTURE_TOO_LARGE: 413,
  /** The body is of a type that is not read here, or no picture. */
  TYPE_UNSUPPORTED: 415,
  /** Too many requests wait. */
  QUEUE_FULL: 429,
  /** Too many requests of one client wait or run. */
  CLIENT_LIMIT: 429,
  /** The request took too long, waiting included. */
  TIMED_OUT: 504,
  /** The client was gone, or took nothing of what was written. */
  CLIENT_GONE: 499,
  /** The server ends: it takes nothing new. */
  DRAINING: 503,
  /** The device stopped working for good. */
  ENGINE_LOST: 503,
} as const satisfies Record<string, number>

/** The stable name of a kind of failure of serving. */
export type ServerErrorCode = keyof typeof statuses

/** A failure of serving, with a stable code and an HTTP status. */
export class ServerError extends Error {
  override readonly name = 'ServerError'
  readonly code: ServerErrorCode
  readonly details: HmarErrorDetails & { readonly retryAfterMs?: number | undefined }

  constructor(code: ServerErrorCode, sentence: string, details: ServerError['details'] = {}) {
    super(sentence, { cause: details.cause })
    this.code = code
    this.details = details
  }
}

/** A failure as it is told to a client. */
export interface ErrorBody {
  readonly error: {
    readonly code: ServerErrorCode | HmarErrorCode
    readonly message: string
    readonly found?: string | undefined
    readonly expected?: string | undefined
    readonly remedy?: string | undefined
  }
}

/** What to answer with. */
export interface ErrorAnswer {
  readonly status: number
  readonly body: ErrorBody
  /** Whole seconds. */
  readonly retryAfter?: number | undefined
}

const callersFault: readonly string[] = [
  'ARGUMENT_OUT_OF_RANGE',
  'SCHEDULE_INVALID',
  'IMAGE_INVALID',
  'RECIPE_INVALID',
  'WEIGHTS_MISMATCH',
  'CONFIG_INVALID',
] satisfies HmarErrorCode[]

/** What Fastify's own errors are here. */
const fastifyCodes: Readonly<Record<string, ServerErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'BODY_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'TYPE_UNSUPPORTED',
  FST_ERR_CTP_EMPTY_TYPE: 'TYPE_UNSUPPORTED',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'REQUEST_INVALID',
  FST_ERR_CTP_INVALID_JSON_BODY: 'REQUEST_INVALID',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'REQUEST_INVALID',
  FST_ERR_NOT_FOUND: 'NOT_FOUND',
}

/** Tells a client what went wrong; what is not the client's to know stays here. */
export function answerTo(error: unknown): ErrorAnswer {
  if (error instanceof ServerError) {
    const { found, expected, remedy, retryAfterMs } = error.details
    return {
      status: statuses[error.code],
      body: { error: { code: error.code, message: error.message, found, expected, remedy } },
      retryAfter: retryAfterMs === undefined ? undefined : Math.max(1, Math.ceil(retryAfterMs / 1000)),
    }
  }
  if (HmarError.isInstance(error) && callersFault.includes(error.code)) {
    const { code, message, found, expected, remedy } = error
    return { status: 400, body: { error: { code, message, found, expected, remedy } } }
  }
  if (isEngineLost(error))
    return answerTo(new ServerError('ENGINE_LOST', 'The device stopped working.', { retryAfterMs: 10_000 }))
  const known = fastifyCodes[(error as { code?: string }).code ?? '']
  if (known)
    return { status: statuses[known], body: { error: { code: known, message: (error as Error).message } } }
  const { statusCode = 500 } = error as { statusCode?: number }
  if (statusCode >= 400 && statusCode < 500)
    return {
      status: statusCode,
      body: { error: { code: 'REQUEST_INVALID', message: (error as Error).message } },
    }
  return { status: 500, body: { error: { code: 'INTERNAL', message: 'The server failed.' } } }
}

/** A device that died answers nothing more. */
export const isEngineLost = (error: unknown) =>
  HmarError.isInstance(error) && error.code === 'DEVICE_UNAVAILABLE'
