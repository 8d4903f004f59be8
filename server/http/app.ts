// The HTTP face: one Koa app on one node server. git comes first and the registry second, because both
// stream their own bodies; everything else is a row of the route table.
import { setMaxListeners } from 'node:events'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import Router from '@koa/router'
import Koa from 'koa'
import type { Authenticate } from '../auth/authenticate.ts'
import type { Served } from '../telemetry/http-metrics.ts'
import type { Log } from '../telemetry/log.ts'
import { accessLog } from './access-log.ts'
import { type ConnectionLimits, createConnections } from './connections.ts'
import { errorReplies } from './errors.ts'
import { createReadJson, type JsonBodyOptions } from './json-body.ts'
import { listen, stopListening } from './listen.ts'
import { mount, unmatched } from './mount.ts'
import { createReadForm, type FormLimits } from './multipart.ts'
import type { Route } from './route.ts'
import { withSoundTarget } from './target.ts'

export interface HttpOptions {
  log: Log
  /** Smart HTTP of git; calls next() for what is not git's. */
  git: Koa.Middleware
  /** Git LFS, on the same paths. */
  lfs?: Koa.Middleware
  /** Everything under /v2. */
  registry: (req: IncomingMessage, res: ServerResponse) => void
  /** The API of workers on other machines; calls next() for what is not theirs. */
  workers?: Koa.Middleware
  authenticate: Authenticate
  routes: readonly Route[]
  checkReplies?: boolean
  /** Told of each answer when it is over. */
  onServed?: (served: Served) => void
  jsonBody?: JsonBodyOptions
  formLimits?: Partial<FormLimits>
  connections?: Partial<ConnectionLimits>
}

export interface Http {
  koa: Koa
  server: Server
  /** Resolves with the URL once it listens; port 0 takes a free one. */
  listen(where: { host: string; port: number }): Promise<string>
  /** Idempotent: takes no more requests, ends open streams, cuts what is left after a grace. */
  stop(): Promise<void>
}

export function createHttp(options: HttpOptions): Http {
  const { log } = options
  const closing = new AbortController()
  setMaxListeners(0, closing.signal) // one for each open request
  const koa = new Koa()
  koa.on('error', (error: Error & { code?: string }) => {
    log.warn(
      { err: { name: error.name, code: error.code, message: error.message } },
      'answer failed',
    )
  })
  koa.use(accessLog({ log, onServed: options.onServed }))
  koa.use(errorReplies({ log }))
  if (options.lfs) koa.use(gitMount(options.lfs))
  koa.use(gitMount(options.git))
  koa.use(registryMount(options.registry))
  if (options.workers) koa.use(options.workers)
  const router = new Router({ sensitive: true })
  mount(router, options.routes, {
    authenticate: options.authenticate,
    readJson: createReadJson(options.jsonBody),
    readForm: createReadForm(options.formLimits),
    closing: closing.signal,
    checkReplies: options.checkReplies ?? false,
  })
  koa.use(router.routes())
  koa.use(unmatched(router))
  const server = createConnections(withSoundTarget(koa.callback()), options.connections)
  let stopped: Promise<void> | undefined
  return {
    koa,
    server,
    listen: (where) => listen(server, where),
    stop() {
      closing.abort()
      stopped ??= stopListening(server)
      return stopped
    },
  }
}

function gitMount(git: Koa.Middleware): Koa.Middleware {
  return async (ctx, next) => {
    ctx.state.route = '/{app}.git'
    await git(ctx, () => {
      ctx.state.route = undefined
      return next()
    })
  }
}

function registryMount(registry: HttpOptions['registry']): Koa.Middleware {
  return async (ctx, next) => {
    if (ctx.path !== '/v2' && !ctx.path.startsWith('/v2/')) return next()
    ctx.state.route = '/v2'
    ctx.respond = false
    ctx.res.statusCode = 200 // Koa starts with 404; the handler expects an untouched answer
    registry(ctx.req, ctx.res)
  }
}
