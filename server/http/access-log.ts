// One log line per request, and the request's id in its answer. Never headers, queries or bodies: they may
// hold tokens.
import { randomUUID } from 'node:crypto'
import type Koa from 'koa'
import type { Principal } from '../auth/principal.ts'
import type { Log } from '../telemetry/log.ts'

const PATH_CHARS_MAX = 300
/** Asked every few seconds by whoever watches the server. */
const QUIET_PATHS = new Set(['/health'])

export interface RequestState {
  requestId: string
  /** Set by whoever authenticated the caller. */
  principal?: Principal | undefined
}

export function accessLog({ log }: { log: Log }): Koa.Middleware<RequestState> {
  return async (ctx, next) => {
    const requestId = randomUUID()
    const startedAt = performance.now()
    ctx.state.requestId = requestId
    ctx.set('X-Request-Id', requestId)
    ctx.res.once('close', () => {
      const { principal } = ctx.state
      const line = {
        requestId,
        method: ctx.method,
        path: ctx.path.slice(0, PATH_CHARS_MAX),
        status: ctx.res.statusCode,
        ms: Math.round(performance.now() - startedAt),
        ...(principal ? { user: principal.user, tenant: principal.tenant } : {}),
        ...(ctx.res.writableFinished ? {} : { aborted: true }),
      }
      if (QUIET_PATHS.has(ctx.path)) log.debug(line, 'request')
      else log.info(line, 'request')
    })
    await next()
  }
}
