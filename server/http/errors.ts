// Everything thrown below becomes one JSON error here: `{code, message, details?}`. What the caller may not
// see (an unexpected error) is logged with the request id and answered without a word about the inside.
import type Koa from 'koa'
import { databaseUnavailable, isPassing } from '../db/gone.ts'
import { AppError, asError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'

export interface ErrorBody {
  code: string
  message: string
  details?: { code: string; message: string }[]
}

export function errorReplies({ log }: { log: Log }): Koa.Middleware {
  return async (ctx, next) => {
    try {
      await next()
    } catch (thrown) {
      const error = toAppError(thrown)
      if (error.status >= 500) logFailure(log, ctx.state.requestId, asError(error.cause ?? error))
      if (ctx.res.headersSent) {
        // Too late to say anything: a cut connection at least is no complete answer.
        ctx.respond = false
        ctx.res.destroy()
        return
      }
      if (error.code === 'unauthorized') ctx.set('WWW-Authenticate', 'Bearer realm="hypeman"')
      if (error.retryAfterSeconds !== undefined) {
        ctx.set('Retry-After', String(error.retryAfterSeconds))
      }
      ctx.status = error.status
      ctx.body = toBody(error, ctx.state.requestId)
    }
  }
}

export function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown
  const error = asError(thrown)
  if (isPassing(error)) return databaseUnavailable(error)
  return new AppError('internal_error', 'internal error', { cause: error })
}

function toBody(error: AppError, requestId: string | undefined): ErrorBody {
  // An internal error thrown by us on purpose has a sentence of its own; an unexpected one only its number.
  const message =
    error.code === 'internal_error' && error.cause !== undefined
      ? `internal error; the server's log has it as request ${requestId}`
      : error.message
  return {
    code: error.code,
    message,
    ...(error.details ? { details: error.details } : {}),
  }
}

// Only these fields: an error of the database driver carries rows in its other ones.
function logFailure(log: Log, requestId: string | undefined, error: Error): void {
  const { name, message, stack } = error
  const code = (error as { code?: unknown }).code
  log.error({ requestId, err: { name, code, message, stack } }, 'request failed')
}
