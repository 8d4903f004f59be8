// One log line per request, and the request's id in its answer. Never headers, queries or bodies: they may
// hold tokens.
import { randomUUID } from 'node:crypto'
import type Koa from 'koa'
import type { Principal } from '../auth/principal.ts'
import type { Served } from '../telemetry/http-metrics.ts'
import type { Log } from '../telemetry/log.ts'

const PATH_CHARS_MAX = 300
/** Asked every few seconds by whoever watches the server. */
const QUIET_PATHS = new Set(['/health', '/metrics'])

export interface RequestState {
  requestId: string
  /** Set by whoever authenticated the caller. */
  principal?: Principal | undefined
  /** Template of the route that serves it. */
  route?: string
}

export interface AccessLogOptions {
  log: Log
  /** Told of each answer when it is over. */
  onServed?: ((served: Served) => void) | undefined
}

export function accessLog({ log, onServed }: AccessLogOptions): Koa.Middleware<RequestState> {
  return async (ctx, next) => {
    const requestId = randomUUID()
    const startedAt = performance.now()
    ctx.state.requestId = requestId
    ctx.set('X-Request-Id', requestId)
    ctx.res.once('close', () => {
      const { principal, route } = ctx.state
      const ms = performance.now() - startedAt
      onServed?.({ method: ctx.method, route, status: ctx.res.statusCode, ms })
      const line = {
        requestId,
        method: ctx.method,
        path: ctx.path.slice(0, PATH_CHARS_MAX),
        status: ctx.res.statusCode,
        ms: Math.round(ms),
        ...(principal ? { user: principal.user, tenant: principal.tenant } : {}),
        ...(ctx.res.writableFinished ? {} : { aborted: true }),
      }
      if (QUIET_PATHS.has(ctx.path)) log.debug(line, 'request')
      else log.info(line, 'request')
    })
    await next()
  }
}
