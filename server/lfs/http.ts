// Git LFS on the path of a hosted app: batch API with the basic transfer, same tokens and rights as git's own
// requests. Locks are not kept, which clients take from 501.
import { finished } from 'node:stream/promises'
import type { Context, Middleware } from 'koa'
import type { App } from '../apps/schema.ts'
import type { Authenticate } from '../auth/authenticate.ts'
import { AppError, invalidRequest } from '../errors.ts'
import { readBody } from '../git/request-body.ts'
import { APP_GIT, type AppTarget, type ResolveApp } from '../git/resolve-app.ts'
import { writeStream } from '../http/stream.ts'
import { validate } from '../http/validation.ts'
import { JSON_BODY_BYTES_MAX, STREAM_STALL_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import {
  answerBatch,
  LFS_LIMITS,
  type LfsLimits,
  requireLfsRoom,
  requireObjectSize,
} from './batch.ts'
import { LFS_TYPE, refuse, sendJson } from './reply.ts'
import { parseBatch, VerifyRequest } from './schema.ts'
import type { LfsStore } from './store.ts'

const ROUTE = new RegExp(`${APP_GIT.source}/info/lfs/(.+)$`)
const OBJECT = /^objects\/([0-9a-f]{64})(?:\/(\d{1,15}))?$/

export interface LfsHttpOptions {
  store: LfsStore
  resolveApp: ResolveApp
  authenticate: Authenticate
  publicUrl(): string
  /** Throws AppError `disk_full`. */
  requireDiskRoom(): Promise<void>
  log: Log
  idleMaxMs?: number | undefined
  limits?: Partial<LfsLimits> | undefined
}

export function createLfsHttp(options: LfsHttpOptions): Middleware {
  const { store, resolveApp, authenticate, publicUrl, requireDiskRoom, log } = options
  const { idleMaxMs } = options
  const limits = { ...LFS_LIMITS, ...options.limits }

  async function serve(ctx: Context, target: AppTarget, action: string): Promise<void> {
    const principal = await authenticate(ctx.get('authorization') || undefined)
    ctx.state.principal = principal
    const forReading = { service: 'git-upload-pack', mayCreate: false } as const
    const forWriting = { service: 'git-receive-pack', mayCreate: false } as const
    const [, oid, size] = OBJECT.exec(action) ?? []
    if (action === 'objects/batch') {
      requireMethod(ctx, 'POST')
      const batch = parseBatch(await readJson(ctx))
      const isUpload = batch.operation === 'upload'
      const use = isUpload ? { ...forWriting, mayCreate: true } : forReading
      const app = await resolveApp(principal, target, use)
      if (isUpload) await requireDiskRoom()
      const base = `${publicUrl()}/${app.tenant}/${app.name}.git/info/lfs`
      sendJson(ctx, 200, await answerBatch({ store, appId: app.id, base, batch, limits }))
    } else if (action === 'objects/verify') {
      requireMethod(ctx, 'POST')
      const asked = validate(VerifyRequest, await readJson(ctx), 'body')
      await verify(await resolveApp(principal, target, forWriting), asked)
      sendJson(ctx, 200, {})
    } else if (oid !== undefined && size !== undefined) {
      requireMethod(ctx, 'PUT')
      await take(ctx, await resolveApp(principal, target, forWriting), oid, Number(size))
    } else if (oid !== undefined) {
      requireMethod(ctx, 'GET')
      await give(ctx, await resolveApp(principal, target, forReading), oid)
    } else if (/^locks(\/|$)/.test(action)) {
      sendJson(ctx, 501, { message: 'locks are not kept here' })
    } else {
      throw new AppError('not_found', `git-lfs has no ${action}`)
    }
  }

  async function verify(app: App, { oid, size }: VerifyRequest): Promise<void> {
    const bytes = (await store.sizes(app.id, [oid])).get(oid)
    if (bytes === size) return
    const what = bytes === undefined ? 'is not here' : `has ${bytes} bytes, not ${size}`
    throw new AppError('not_found', `object ${oid} ${what}`)
  }

  async function take(ctx: Context, app: App, oid: string, bytes: number): Promise<void> {
    const declared = ctx.request.length
    if (declared !== undefined && declared !== bytes) {
      throw invalidRequest(`object ${oid}: ${declared} bytes are sent instead of ${bytes}`)
    }
    requireObjectSize(bytes, limits)
    const isKnown = (await store.sizes(app.id, [oid])).has(oid)
    if (!isKnown) await requireLfsRoom(store, app.id, bytes, limits)
    await requireDiskRoom()
    await store.add(app.id, { oid, bytes }, readBody(ctx.req, idleMaxMs).rest())
    log.info({ app: app.name, oid, bytes }, 'git-lfs object taken in')
    sendJson(ctx, 200, {})
  }

  async function give(ctx: Context, app: App, oid: string): Promise<void> {
    const gone = new AbortController()
    const { res } = ctx
    const file = await store.open(app.id, oid, gone.signal)
    if (!file) throw new AppError('not_found', `object ${oid} is not here`)
    ctx.respond = false
    res.writeHead(200, {
      'content-type': 'application/octet-stream',
      'content-length': file.bytes,
    })
    finished(res, { readable: false })
      .catch(() => {})
      .finally(() => gone.abort())
    const { signal } = gone
    await writeStream({ res, chunks: file.content, signal, stallMs: STREAM_STALL_MS })
  }

  async function readJson(ctx: Context): Promise<unknown> {
    const parts: Buffer[] = []
    let bytes = 0
    for await (const part of readBody(ctx.req, idleMaxMs).rest()) {
      bytes += part.length
      if (bytes > JSON_BODY_BYTES_MAX) {
        const message = `the body is larger than ${JSON_BODY_BYTES_MAX} bytes`
        throw new AppError('body_too_large', message)
      }
      parts.push(part)
    }
    try {
      return JSON.parse(Buffer.concat(parts).toString('utf8'))
    } catch {
      throw invalidRequest(`body is not valid JSON; ${LFS_TYPE} is`)
    }
  }

  return async (ctx, next) => {
    const [, tenant, name, action] = ROUTE.exec(ctx.path) ?? []
    if (!name || !action) return next()
    try {
      await serve(ctx, { tenant, name }, action)
    } catch (error) {
      refuse(ctx, error, log)
    }
  }
}

function requireMethod(ctx: Context, method: string): void {
  if (ctx.method === method) return
  throw new AppError('method_not_allowed', `${ctx.method} is not allowed here; use ${method}`)
}
