// Route rows → Koa: who is asking and may they, is the input right, call the handler, send what it answers.
// The body is read after the token is checked, so that strangers cannot make the server hold anything.
import type Router from '@koa/router'
import type Koa from 'koa'
import type { z } from 'zod'
import type { Authenticate } from '../auth/authenticate.ts'
import { may, type Principal } from '../auth/principal.ts'
import { AppError, notFound } from '../errors.ts'
import type { ReadJson } from './json-body.ts'
import type { ReadForm } from './multipart.ts'
import { nested } from './query.ts'
import type { Permission, Reply, Route, Sink } from './route.ts'
import { validate } from './validation.ts'

export interface MountOptions {
  authenticate: Authenticate
  readJson: ReadJson
  readForm: ReadForm
  /** Aborts when the server stops: open streams end. */
  closing: AbortSignal
  /** Check answers against their schemas as well: tests do, production trusts its types. */
  checkReplies: boolean
}

export function mount(router: Router, routes: readonly Route[], options: MountOptions): void {
  for (const row of routes) {
    const path = row.path.replaceAll(/\{(\w+)\}/g, ':$1')
    router[row.method](path, (ctx) => serve(row, ctx, options))
  }
}

/** What no row matched: 404 for an unknown path, 405 with Allow for an unknown method. */
export function unmatched(router: Router): Koa.Middleware {
  return async (ctx) => {
    const { path: layers } = router.match(ctx.path, ctx.method)
    const methods = new Set(layers.flatMap((layer) => layer.methods))
    if (methods.size === 0) {
      throw new AppError('not_found', `no such path: ${ctx.method} ${ctx.path}`)
    }
    const allow = [...methods, 'OPTIONS'].join(', ')
    ctx.set('Allow', allow)
    if (ctx.method === 'OPTIONS') {
      ctx.status = 204
      return
    }
    throw new AppError('method_not_allowed', `${ctx.method} ${ctx.path}: only ${allow}`)
  }
}

async function serve(row: Route, ctx: Koa.Context, options: MountOptions): Promise<void> {
  ctx.set('X-Content-Type-Options', 'nosniff')
  ctx.state.route = row.path
  const principal =
    row.permission === undefined
      ? undefined
      : await admit(ctx, row.permission, options.authenticate)
  const params = row.params ? parsePath(row, ctx.params) : {}
  const query = row.query ? validate(row.query, nested(ctx.query), 'query') : {}
  const body = row.body ? validate(row.body, await options.readJson(ctx), 'body') : undefined
  const signal = untilGone(ctx, options.closing)
  const reply = await row.handle({
    params,
    query,
    body,
    principal,
    receive(take) {
      if (!row.form) throw new TypeError(`${row.id} takes no form`)
      const { json } = row.form
      if (json && ctx.is('json')) return readTexts(ctx, json, options)
      return options.readForm(ctx, row.form, take)
    },
    signal,
    header: (name) => ctx.get(name),
    accepts: (...types) => ctx.accepts(...types) || undefined,
  })
  if (options.checkReplies) check(row, reply)
  await send(ctx, reply, signal)
}

/** A JSON object as the texts a form with the same fields would have. */
async function readTexts(
  ctx: Koa.Context,
  schema: z.ZodObject,
  { readJson }: MountOptions,
): Promise<ReadonlyMap<string, string>> {
  const fields = validate(schema, await readJson(ctx), 'body')
  const texts = Object.entries(fields).map(([name, value]): [string, string] => [
    name,
    typeof value === 'string' ? value : JSON.stringify(value),
  ])
  return new Map(texts)
}

async function admit(
  ctx: Koa.Context,
  permission: Permission,
  authenticate: Authenticate,
): Promise<Principal> {
  const authorization = ctx.get('authorization')
  // Basic is for git and registries: a browser must not send it along by itself.
  if (authorization !== '' && !/^bearer /i.test(authorization)) {
    throw new AppError('unauthorized', 'invalid authorization header format: send Bearer <token>')
  }
  const principal = await authenticate(authorization || undefined)
  ctx.state.principal = principal
  if (!may(principal, permission)) {
    throw new AppError('forbidden', `missing required scope: ${permission}`)
  }
  return principal
}

function parsePath(row: Route, params: unknown): unknown {
  const parsed = row.params?.safeParse(params)
  if (!parsed?.success) throw notFound(row.resource ?? 'resource')
  return parsed.data
}

function untilGone(ctx: Koa.Context, closing: AbortSignal): AbortSignal {
  const gone = new AbortController()
  const abort = (): void => gone.abort()
  closing.addEventListener('abort', abort, { once: true })
  ctx.res.once('close', () => {
    closing.removeEventListener('abort', abort)
    abort()
  })
  if (closing.aborted || ctx.res.destroyed) abort()
  return gone.signal
}

async function send(ctx: Koa.Context, reply: Reply, signal: AbortSignal): Promise<void> {
  ctx.status = reply.status
  if (reply.headers) ctx.set(reply.headers)
  if ('json' in reply) {
    ctx.type = 'application/json'
    ctx.body = JSON.stringify(reply.json)
  } else if ('text' in reply) {
    ctx.type = reply.type
    ctx.body = reply.text
  } else if ('stream' in reply) {
    ctx.set('Content-Type', reply.type)
    await stream(ctx, reply.stream, signal)
  } else ctx.body = null
}

async function stream(
  ctx: Koa.Context,
  write: (sink: Sink) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  ctx.respond = false
  if (ctx.method === 'HEAD') ctx.res.end()
  else await write({ res: ctx.res, signal })
}

// A reply that is not as documented is our own mistake.
function check(row: Route, reply: Reply): void {
  const doc = row.replies[reply.status]
  if (!doc) throw new TypeError(`${row.id} answered ${reply.status}, which is not documented`)
  if ('empty' in reply) return
  const type = 'json' in reply ? 'application/json' : reply.type.split(';', 1)[0]!
  const schema = doc.content?.[type]
  if (!schema) throw new TypeError(`${row.id} answered ${type}, which is not documented`)
  if ('json' in reply) schema.parse(reply.json)
}
