// Answers in the form of Git LFS: a refusal is one message, which its client shows as it is.
import type { Context } from 'koa'
import { asError } from '../errors.ts'
import { PASSWORD_HINT, toKnown } from '../git/denial.ts'
import type { Log } from '../telemetry/log.ts'

export const LFS_TYPE = 'application/vnd.git-lfs+json'

export function sendJson(ctx: Context, status: number, body: object): void {
  ctx.respond = true
  ctx.status = status
  ctx.type = LFS_TYPE
  ctx.body = JSON.stringify(body)
}

export function refuse(ctx: Context, error: unknown, log: Log): void {
  const known = toKnown(error)
  if (known.status >= 500) log.error({ err: asError(error) }, 'git-lfs request failed')
  if (ctx.res.headersSent || ctx.res.destroyed) {
    ctx.res.destroy()
    return
  }
  if (known.status === 401) {
    const challenge = 'Basic realm="hypeman", charset="UTF-8"'
    ctx.set({ 'www-authenticate': challenge, 'lfs-authenticate': challenge })
  }
  // The body of a refused request may not be read, so nothing can follow it on this connection.
  if (ctx.method !== 'GET') ctx.set('connection', 'close')
  const hint = known.status === 401 ? PASSWORD_HINT : known.hint
  sendJson(ctx, known.status, { message: [known.message, ...(hint ? [hint] : [])].join('; ') })
}
