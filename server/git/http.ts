// Git over smart HTTP: which repository, who, may they; then the adapter. Denials are short plain text,
// which git shows to the person as `remote: …`.
import { once } from 'node:events'
import type { Context, Middleware } from 'koa'
import type { App } from '../apps/schema.ts'
import type { Apps } from '../apps/service.ts'
import type { Authenticate } from '../auth/authenticate.ts'
import { may, type Principal } from '../auth/principal.ts'
import { AppError, asError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import { createGitAdapter, type GitService } from './adapter.ts'
import { classify } from './classify.ts'
import type { LivePushes } from './live.ts'
import { PktLineError, type PushHead } from './pkt-line.ts'
import type { Repositories } from './repositories.ts'

const ROUTE =
  /^\/(?:([a-z0-9-]{3,63})\/)?([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\.git\/(info\/refs|git-upload-pack|git-receive-pack)$/
const SERVICES: readonly string[] = ['git-receive-pack', 'git-upload-pack']

export interface GitHttpOptions {
  apps: Apps
  repositories: Repositories
  repositoriesRoot: string
  authenticate: Authenticate
  live: LivePushes
  log: Log
}

interface Target {
  tenant: string | undefined
  name: string
  service: GitService
  isAdvertisement: boolean
}

export function createGitHttp(options: GitHttpOptions): Middleware {
  const { apps, repositories, repositoriesRoot, authenticate, live, log } = options
  const adapter = createGitAdapter({ root: repositoriesRoot, log })

  /** The app, made by its first push; denials are thrown. */
  async function resolve(principal: Principal, target: Target): Promise<App> {
    const { tenant, name, service } = target
    const isPush = service === 'git-receive-pack'
    const needed = isPush ? 'build:write' : 'build:read'
    const found = await apps.findForGit(principal, { tenant, name })
    if (found || !isPush) {
      if (!found) throw new AppError('not_found', `no app ${name} here`)
      if (!may(principal, needed)) throw forbidden(needed)
      return found
    }
    return apps.createForPush(principal, { tenant, name })
  }

  async function serve(ctx: Context, target: Target): Promise<void> {
    const principal = await authenticate(ctx.get('authorization') || undefined)
    const app = await resolve(principal, target)
    const { service } = target
    const request = { repository: `${app.id}.git`, service, req: ctx.req, res: ctx.res }
    ctx.respond = false
    ctx.res.setHeader('cache-control', 'no-cache, max-age=0, must-revalidate')
    if (target.isAdvertisement) {
      adapter.advertise(request)
      if (!ctx.res.closed) await once(ctx.res, 'close')
    } else if (service === 'git-upload-pack') {
      await adapter.fetch(request)
    } else {
      const gone = new AbortController()
      ctx.res.once('close', () => gone.abort())
      const repoPath = repositories.path(app.id)
      await adapter.push(
        {
          ...request,
          onProcess: (child) =>
            live.add(child, { app, principal, repoPath, clientGone: gone.signal }),
        },
        refuseForeign,
      )
    }
  }

  return async (ctx, next) => {
    const target = parseTarget(ctx)
    if (!target) return next()
    try {
      await serve(ctx, target)
    } catch (error) {
      deny(ctx, error, log)
    }
  }
}

/** The library knows branches and tags only; a push without any of them would hang in it. */
function refuseForeign(head: PushHead): string | undefined {
  const known = head.updates.some(({ ref }) => /^refs\/(?:heads|tags)\//.test(ref))
  if (known) return undefined
  const first = classify(head.updates[0]!, [])
  return first.kind === 'refused' ? first.reason : 'only branches and tags are hosted here'
}

function parseTarget(ctx: Context): Target | undefined {
  const [, tenant, name = '', action = ''] = ROUTE.exec(ctx.path) ?? []
  if (!name) return undefined
  const isAdvertisement = action === 'info/refs'
  if (ctx.method !== (isAdvertisement ? 'GET' : 'POST')) return undefined
  const service = isAdvertisement ? ctx.query.service : action
  if (typeof service !== 'string' || !SERVICES.includes(service)) return undefined
  return { tenant, name, service: service as GitService, isAdvertisement }
}

function forbidden(permission: string): AppError {
  return new AppError('forbidden', `missing required scope: ${permission}`)
}

function deny(ctx: Context, error: unknown, log: Log): void {
  if (ctx.res.headersSent || ctx.res.destroyed) {
    ctx.res.destroy()
    return
  }
  const known = toKnown(error)
  if (known.status >= 500) log.error({ err: asError(error) }, 'git request failed')
  ctx.respond = true
  ctx.status = known.status
  ctx.type = 'text/plain; charset=utf-8'
  if (known.status === 401) ctx.set('www-authenticate', 'Basic realm="hypeman", charset="UTF-8"')
  const hint =
    known.status === 401 ? 'the token is the password; any user name will do' : known.hint
  ctx.body = `error: ${known.message}\n${hint ? `hint: ${hint}\n` : ''}`
}

function toKnown(error: unknown): AppError {
  if (error instanceof AppError) return error
  if (error instanceof PktLineError) return new AppError('invalid_request', error.message)
  return new AppError('internal_error', 'the server could not answer; try again')
}
