// A refusal as git's user reads it: `error:` and `hint:` lines, which git itself colours. As a plain-text
// answer they show as `remote: …`, but only in answer to info/refs.
import type { Context } from 'koa'
import { databaseUnavailable, isPassing } from '../db/gone.ts'
import { AppError, asError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import { PktLineError } from './pkt-line.ts'

export const PASSWORD_HINT = 'the password is a token of this server; any user name will do'

export function errorLines(error: AppError): string[] {
  const details = (error.details ?? []).map(({ message }) => `error: ${message}`)
  return [`error: ${error.message}`, ...details, ...(error.hint ? [`hint: ${error.hint}`] : [])]
}

export function deny(ctx: Context, error: unknown, log: Log): void {
  const known = toKnown(error)
  if (known.status >= 500) log.error({ err: asError(error) }, 'git request failed')
  if (ctx.res.headersSent || ctx.res.destroyed) {
    ctx.res.destroy()
    return
  }
  ctx.respond = true
  ctx.status = known.status
  ctx.type = 'text/plain; charset=utf-8'
  const lines = errorLines(known)
  if (known.status === 401) {
    ctx.set('www-authenticate', 'Basic realm="hypeman", charset="UTF-8"')
    lines.push(`hint: ${PASSWORD_HINT}`)
  }
  // The body of a refused POST is not read, so nothing can follow it on this connection.
  if (ctx.method === 'POST') ctx.set('connection', 'close')
  ctx.body = `${lines.join('\n')}\n`
}

/** As it may be shown; what is not known is a mistake of the server. */
export function toKnown(error: unknown): AppError {
  if (error instanceof AppError) return error
  if (error instanceof PktLineError) return new AppError('invalid_request', error.message)
  if (isPassing(error)) return databaseUnavailable(error)
  return new AppError('internal_error', 'the server could not answer', {
    hint: 'try again; its operator finds the reason in the log',
    cause: error,
  })
}
