// Git over smart HTTP: which repository, who, may they; then the adapter. Each of the three requests is
// authorised by itself, because node-git-server asks at none of those that change anything.
import type { Context, Middleware } from 'koa'
import { type App, effectiveSettings } from '../apps/schema.ts'
import type { Apps } from '../apps/service.ts'
import type { Authenticate } from '../auth/authenticate.ts'
import type { Principal } from '../auth/principal.ts'
import { AppError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import { type AcceptedPush, createGitAdapter, type GitService } from './adapter.ts'
import { leaveBuildTags } from './build-tags.ts'
import { classify, type RefRules, whyNotHosted } from './classify.ts'
import { deny } from './denial.ts'
import type { HookLines } from './hook-lines.ts'
import type { LivePush, LivePushes } from './live.ts'
import type { PushHead } from './pkt-line.ts'
import { mergeBuildArgs, type PushOptions, parsePushOptions } from './push-options.ts'
import { createPushPlaces, type PushLimits } from './push-places.ts'
import type { Repositories } from './repositories.ts'
import { APP_GIT, type AppTarget, createResolveApp } from './resolve-app.ts'
import type { PushRefusal } from './sideband.ts'

const ROUTE = new RegExp(`${APP_GIT.source}/(info/refs|git-upload-pack|git-receive-pack)$`)
const SERVICES: readonly string[] = ['git-receive-pack', 'git-upload-pack']

const DETACHED_GATE: PushRefusal = {
  reasonFor: () => 'a gated push cannot be detached',
  lines: [
    'error: push option detach does not go with a gate: a gated push waits for its build',
    'hint: push without detach; nothing of this push was kept',
  ],
}

export interface GitHttpOptions {
  apps: Pick<Apps, 'findForGit' | 'createForPush'>
  repositories: Repositories
  repositoriesRoot: string
  authenticate: Authenticate
  live: LivePushes
  hooks: Pick<HookLines, 'attach'>
  log: Log
  idleMaxMs?: number
  packBytesMax?: number
  stallMaxMs?: number
  pushLimits?: PushLimits
  /** Of the disk with the repositories. Throws AppError `disk_full`. */
  requireRoom?: () => Promise<void>
}

interface Target extends AppTarget {
  action: 'info/refs' | GitService
}

export function createGitHttp(options: GitHttpOptions): Middleware {
  const { apps, repositories, repositoriesRoot, authenticate, live, hooks, log } = options
  const { idleMaxMs, packBytesMax, stallMaxMs, requireRoom } = options
  const resolveApp = createResolveApp({ apps, repositories })
  const bounds = { idleMaxMs, packBytesMax, stallMaxMs, requireRoom }
  const adapter = createGitAdapter({ root: repositoriesRoot, log, ...bounds })
  const places = createPushPlaces(options.pushLimits)

  async function serve(ctx: Context, target: Target): Promise<void> {
    const { action } = target
    requireMethod(ctx, action === 'info/refs' ? 'GET' : 'POST')
    const principal = await authenticate(ctx.get('authorization') || undefined)
    ctx.state.principal = principal
    const service = action === 'info/refs' ? askedService(ctx) : action
    // The first push makes the app, at its first request.
    const mayCreate = service === 'git-receive-pack' && action === 'info/refs'
    const app = await resolveApp(principal, target, { service, mayCreate })
    if (mayCreate) places.requirePlace(principal)
    ctx.respond = false
    const request = { repository: `${app.id}.git`, service, req: ctx.req, res: ctx.res }
    if (action === 'info/refs') return adapter.advertise(request)
    if (action === 'git-upload-pack') return adapter.fetch(request)
    const gone = new AbortController()
    ctx.res.once('close', () => gone.abort())
    if (ctx.res.closed) gone.abort()
    let release = () => {}
    try {
      await adapter.push(request, async (head) => {
        await leaveBuildTags(head, (ref) => repositories.tip(app.id, ref))
        const decision = decide(head, app, principal, gone.signal)
        if ('reasonFor' in decision) return decision
        // Asked for at info/refs as well, where nothing has been sent yet; but only this counts.
        return orRefusal('too many pushes at once', () => {
          release = places.take(principal)
          return decision
        })
      })
    } finally {
      release()
    }
  }

  function decide(
    head: PushHead,
    app: App,
    principal: Principal,
    clientGone: AbortSignal,
  ): AcceptedPush | PushRefusal {
    const rules = effectiveSettings(app.settings)
    const refusal = refuseRefs(head, rules)
    if (refusal) return refusal
    const isBuilt = head.updates.some((update) => classify(update, rules).kind === 'build')
    const options = readOptions(head, app)
    if ('reasonFor' in options) return options
    const isGated = isBuilt && (rules.gate === true || options.gate)
    if (isGated && options.detach) return DETACHED_GATE
    const push: LivePush = {
      app,
      principal,
      repoPath: repositories.path(app.id),
      clientGone,
      options,
      isAtomic: head.capabilities.has('atomic'),
      gated: new Map(),
      over: new AbortController(),
    }
    return {
      isGated,
      onProcess(child, said) {
        live.add(child, push)
        hooks.attach(child, push, said)
      },
    }
  }

  return async (ctx, next) => {
    const [, tenant, name, action] = ROUTE.exec(ctx.path) ?? []
    if (!name && !isMisspelt(ctx)) return next()
    try {
      if (!name) throw noRepository()
      await serve(ctx, { tenant, name, action: action as Target['action'] })
    } catch (error) {
      deny(ctx, error, log)
    }
  }
}

/** Refs that nobody may push are refused before the pack: a push of those alone would hang in the library. */
function refuseRefs(head: PushHead, rules: RefRules): PushRefusal | undefined {
  const refused = new Map<string, { reason: string; short: string; hint: string }>()
  for (const update of head.updates) {
    const unhosted = whyNotHosted(update.ref)
    const classified = classify(update, rules)
    if (classified.kind !== 'refused') continue
    const { reason, hint } = classified
    const short = unhosted === undefined ? reason : 'not hosted here'
    refused.set(update.ref, { reason, short, hint })
  }
  if (refused.size === 0) return undefined
  const reasons = [...refused.values()]
  return {
    reasonFor: ({ ref }) => refused.get(ref)?.short ?? 'refused with the other refs',
    lines: [
      ...reasons.map(({ reason }) => `error: ${reason}`),
      ...new Set(reasons.map(({ hint }) => `hint: ${hint}`)),
    ],
  }
}

function readOptions(head: PushHead, app: App): PushOptions | PushRefusal {
  return orRefusal('a push option is wrong', () => {
    const options = parsePushOptions(head.options)
    mergeBuildArgs(app.settings.buildArgs, options)
    return options
  })
}

/** What an AppError says, as a refusal of all refs. */
function orRefusal<T>(reason: string, work: () => T): T | PushRefusal {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    const hint = error.hint ?? 'nothing of this push was kept'
    return { reasonFor: () => reason, lines: [`error: ${error.message}`, `hint: ${hint}`] }
  }
}

/** Without `.git` a remote would be met with the 404 of an API, of which git shows nothing. */
function isMisspelt({ path, query }: Context): boolean {
  return path.endsWith('/info/refs') && SERVICES.includes(String(query.service))
}

function noRepository(): AppError {
  return new AppError('not_found', 'no repository has this address', {
    hint: 'an address ends with /<app>.git or /<tenant>/<app>.git',
  })
}

function requireMethod(ctx: Context, method: string): void {
  if (ctx.method === method) return
  throw new AppError('method_not_allowed', `${ctx.method} is not allowed here; git uses ${method}`)
}

function askedService(ctx: Context): GitService {
  const { service } = ctx.query
  if (typeof service === 'string' && SERVICES.includes(service)) return service as GitService
  throw new AppError('forbidden', 'only smart HTTP is served', {
    hint: 'use git 1.6.6 or newer, with a remote that begins with http:// or https://',
  })
}
