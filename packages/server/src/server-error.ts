import { HmarError, type HmarErrorCode, type HmarErrorDetails } from '@hmar/core'

/**
 * The stable name of a kind of failure of serving.
 *
 * - `NOT_FOUND`: there is nothing at this address.
 * - `REQUEST_INVALID`: the body is no JSON, or not of the form that is asked for.
 * - `BODY_TIMED_OUT`: the body took too long to come.
 * - `BODY_TOO_LARGE`: the body has too many bytes.
 * - `PICTURE_TOO_LARGE`: the picture has too many pixels; none was decoded.
 * - `TYPE_UNSUPPORTED`: the body is of a type that is not read here, or no picture.
 * - `QUEUE_FULL`: too many requests wait.
 * - `CLIENT_LIMIT`: too many requests of one client wait or run.
 * - `TIMED_OUT`: the request took too long, waiting included.
 * - `CLIENT_GONE`: the client left, or took nothing of what was written.
 * - `DRAINING`: the server ends, and takes nothing new.
 * - `ENGINE_LOST`: the device stopped working for good.
 */
export type ServerErrorCode =
  | 'NOT_FOUND'
  | 'REQUEST_INVALID'
  | 'BODY_TIMED_OUT'
  | 'BODY_TOO_LARGE'
  | 'PICTURE_TOO_LARGE'
  | 'TYPE_UNSUPPORTED'
  | 'QUEUE_FULL'
  | 'CLIENT_LIMIT'
  | 'TIMED_OUT'
  | 'CLIENT_GONE'
  | 'DRAINING'
  | 'ENGINE_LOST'

const statuses: Readonly<Record<ServerErrorCode, number>> = {
  NOT_FOUND: 404,
  REQUEST_INVALID: 400,
  BODY_TIMED_OUT: 408,
  BODY_TOO_LARGE: 413,
  PICTURE_TOO_LARGE: 413,
  TYPE_UNSUPPORTED: 415,
  QUEUE_FULL: 429,
  CLIENT_LIMIT: 429,
  TIMED_OUT: 504,
  CLIENT_GONE: 499,
  DRAINING: 503,
  ENGINE_LOST: 503,
}

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
