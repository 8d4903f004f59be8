// Everything under /v2: authorises each request for its repository, then streams both ways to the registry
// behind. Stateless, so it serves the public port and, in each worker, the guests' tunnels alike.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tokenCandidates } from '../auth/authenticate.ts'
import type { Tokens } from '../auth/tokens.ts'
import { untilDatabase } from '../db/gone.ts'
import { AppError, asError, type ErrorCode } from '../errors.ts'
import { joinSignals } from '../join-signals.ts'
import { REGISTRY_DATABASE_WAIT_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import { createUploadCarrier, type UploadLimits } from './carry-upload.ts'
import { createCatalog } from './catalog.ts'
import { createRegistryClient } from './client.ts'
import { unlessGone } from './client-gone.ts'
import { forward, UpstreamRefused } from './forward.ts'
import type { Caller, Grants, RepoAction } from './grants.ts'
import { createIdentify } from './identify.ts'
import { createManifestPut } from './manifest-put.ts'
import { isDigest, isMirror, isRepoName, parseRoute, type RepoRoute, routePath } from './names.ts'
import type { ReferrerStore } from './referrer-store.ts'
import { createReferrersEndpoint } from './referrers.ts'
import { type Challenge, type OciCode, replyOci, replyUnauthorized } from './replies.ts'
import type { RepositoryUse } from './repository-use.ts'
import type { RequireRoom } from './room.ts'
import { createTokenEndpoint } from './token-endpoint.ts'
import type { RegistryUpstream } from './upstream.ts'

export interface RegistryProxyOptions {
  upstream: RegistryUpstream
  tokens: Pick<Tokens, 'verifyApi' | 'verifyRegistry' | 'mintRegistrySession'>
  grants: Grants
  referrers: ReferrerStore
  /** Undefined: no other registry is mirrored. */
  mirror?: MirrorService | undefined
  use: Pick<RepositoryUse, 'pulled' | 'pushed' | 'goneSince'>
  /** Of the registry's disk, when it is ours. */
  requireRoom?: RequireRoom | undefined
  /** Scheme and host as this request's client knows us, for the challenge. */
  baseUrl(req: IncomingMessage): string
  log: Log
  databaseWaitMs?: number
  uploadLimits?: Partial<UploadLimits>
}

export interface MirrorService {
  /** Answers every request for `mirror/…` that reads. */
  serve(
    req: IncomingMessage,
    res: ServerResponse,
    route: RepoRoute,
    buildId: string | undefined,
  ): Promise<void>
  /** Whether it is mirrored now; what is stored of it says nothing about that. */
  gives(repo: string): boolean
}

export type RegistryProxy = (req: IncomingMessage, res: ServerResponse) => Promise<void>

/** Better said than a name that is not known. */
class ImageGone extends Error {
  override name = 'ImageGone'
}

const ACTIONS: Record<RepoRoute['kind'], Record<string, RepoAction>> = {
  manifest: { GET: 'pull', HEAD: 'pull', PUT: 'push', DELETE: 'delete' },
  blob: { GET: 'pull', HEAD: 'pull', DELETE: 'delete' },
  uploads: { POST: 'push' },
  upload: { GET: 'push', HEAD: 'push', PATCH: 'push', PUT: 'push', DELETE: 'push' },
  tags: { GET: 'pull', HEAD: 'pull' },
  referrers: { GET: 'pull', HEAD: 'pull' },
}
const SCOPE_ACTIONS = { pull: 'pull', push: 'pull,push', delete: 'delete' }

export function createRegistryProxy(options: RegistryProxyOptions): RegistryProxy {
  const { upstream, tokens, grants, use, baseUrl, log } = options
  const { databaseWaitMs = REGISTRY_DATABASE_WAIT_MS } = options
  const identify = createIdentify({ tokens, grants })
  const tokenEndpoint = createTokenEndpoint({ tokens, grants, identify })
  const catalog = createCatalog({ upstream, grants })
  const putManifest = createManifestPut({ upstream, referrers: options.referrers, use })
  const { requireRoom, uploadLimits: limits } = options
  const carryUpload = createUploadCarrier({ upstream, requireRoom, limits })
  const referrers = createReferrersEndpoint({
    upstream,
    store: options.referrers,
    manifestExists: createRegistryClient({ upstream }).manifestExists,
  })

  async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const [rawPath = '', ...query] = (req.url ?? '').split('?')
    const route = parseRoute(rawPath)
    const method = req.method ?? ''
    if (!route) return replyNoRoute(res, method)
    const candidates = tokenCandidates(req.headers.authorization ?? '')
    const params = new URLSearchParams(query.join('?'))
    if (route.kind === 'token') return tokenEndpoint(req, res, { candidates, params })

    const caller = await patiently(res, () => identify(candidates))
    const action = 'repo' in route ? ACTIONS[route.kind][method] : undefined
    const challenge: Challenge = { base: baseUrl(req) }
    if ('repo' in route) {
      challenge.scope = `repository:${route.repo}:${SCOPE_ACTIONS[action ?? 'pull']}`
    }
    if (route.kind === 'catalog') challenge.scope = 'registry:catalog:*'
    if (!caller) {
      if (candidates.length > 0) challenge.error = 'invalid_token'
      return replyUnauthorized(res, challenge, 'registry authentication required')
    }
    if (route.kind === 'base') return replyBase(res, method)
    if (route.kind === 'catalog') {
      return isRead(method) ? catalog(res, caller, params) : replyNoMethod(res, method, READS)
    }
    if (!action) return replyNoMethod(res, method, Object.keys(ACTIONS[route.kind]))
    if (isMirror(route.repo) && !isRead(method)) return replyNoMethod(res, method, READS)
    if (!(await grants.allows(caller, route.repo, action))) {
      const refused = { ...challenge, error: 'insufficient_scope' as const }
      return replyUnauthorized(res, refused, `not allowed: ${action} ${route.repo}`)
    }
    if (isMirror(route.repo)) {
      if (!options.mirror) return replyOci(res, 404, 'NAME_UNKNOWN', 'nothing is mirrored here')
      await options.mirror.serve(req, res, route, buildOf(caller))
      // What it does not have leaves no row behind.
      if (res.statusCode === 200) use.pulled(route.repo)
      return
    }
    if (route.kind === 'referrers') {
      return referrers(res, { repo: route.repo, digest: route.digest, params })
    }
    if (route.kind === 'manifest' && method === 'PUT') return putManifest(req, res, route)
    const search = await safeQuery(params, route, caller)
    if (route.kind === 'uploads' || route.kind === 'upload') {
      return carryUpload(req, res, { route, search, token: tokenOf(caller) })
    }
    await forward(upstream, req, res, {
      path: routePath(route) + (search ? `?${search}` : ''),
      keepsContentType: route.kind === 'manifest',
      async onReply({ statusCode }) {
        if (route.kind !== 'manifest' || !isRead(method)) return {}
        if (statusCode === 200) use.pulled(route.repo)
        if (statusCode === 404) await requireKept(route.repo)
        return {}
      },
    })
  }

  async function requireKept(repo: string): Promise<void> {
    const since = await use.goneSince(repo)
    if (since)
      throw new ImageGone(`the image ${repo} was removed ${since.toISOString()}: retention`)
  }

  /** Nothing has been read or said yet, so a database that restarts costs a push some seconds and no more. */
  function patiently<T>(res: ServerResponse, work: () => Promise<T>): Promise<T> {
    return unlessGone(res, async (gone) => {
      const until = joinSignals([gone], databaseWaitMs)
      try {
        return await untilDatabase(work, until.signal)
      } finally {
        until.dispose()
      }
    })
  }

  /**
   * Each parameter once and encoded anew, so that the registry reads what was checked. A mount from a
   * repository the caller can't read becomes a plain upload (202, as the spec has it).
   */
  async function safeQuery(
    params: URLSearchParams,
    route: RepoRoute,
    caller: Caller,
  ): Promise<string> {
    const first = new Map([...params].reverse())
    if (route.kind === 'uploads') {
      const from = first.get('from') ?? ''
      const mayMount =
        isDigest(first.get('mount') ?? '') &&
        isRepoName(from) &&
        (!isMirror(from) || options.mirror?.gives(from) === true) &&
        (await grants.allows(caller, from, 'pull'))
      if (!mayMount) for (const name of ['mount', 'from']) first.delete(name)
    }
    return new URLSearchParams([...first]).toString()
  }

  return async (req, res) => {
    try {
      await handle(req, res)
    } catch (error) {
      if (res.destroyed || res.writableEnded) return
      if (error instanceof ImageGone) return replyOci(res, 404, 'MANIFEST_UNKNOWN', error.message)
      if (error instanceof AppError && replyRefusal(req, res, error)) return
      const level = error instanceof UpstreamRefused ? 'error' : 'warn'
      const path = req.url?.split('?', 1)[0]
      log[level]({ err: asError(error).message, method: req.method, path }, 'registry unavailable')
      replyOci(res, 503, 'UNAVAILABLE', 'the registry cannot be reached; try again')
    }
  }
}

const READS = ['GET', 'HEAD']

const REFUSALS: Partial<Record<ErrorCode, [status: number, code: OciCode]>> = {
  disk_full: [507, 'UNAVAILABLE'],
  request_timeout: [408, 'BLOB_UPLOAD_INVALID'],
  too_many_uploads: [429, 'TOOMANYREQUESTS'],
}

/** Whether the client can do something about it, and has been told. */
function replyRefusal(req: IncomingMessage, res: ServerResponse, error: AppError): boolean {
  const { code, retryAfterSeconds, message } = error
  const [status, ociCode] = REFUSALS[code] ?? [error.status, 'UNAVAILABLE' as const]
  if (code in REFUSALS) req.resume()
  else if (retryAfterSeconds === undefined) return false
  if (retryAfterSeconds !== undefined && !res.headersSent) {
    res.setHeader('retry-after', retryAfterSeconds)
  }
  replyOci(res, status, ociCode, message)
  return true
}

/** People's tokens and those of builds have ids that differ; what /v2/token gives for one has its id. */
function tokenOf(caller: Caller): string {
  return caller.kind === 'grant' ? caller.grant.jti : caller.principal.jti
}

function buildOf(caller: Caller): string | undefined {
  return caller.kind === 'grant' ? caller.grant.buildId : undefined
}

function isRead(method: string): boolean {
  return READS.includes(method)
}

/** Nothing to be read there; what is to be written is wrong, an invalid digest for instance. */
function replyNoRoute(res: ServerResponse, method: string): void {
  const message = 'that is no path of the registry API'
  replyOci(res, isRead(method) ? 404 : 400, 'NAME_INVALID', message)
}

function replyNoMethod(res: ServerResponse, method: string, allowed: readonly string[]): void {
  res.setHeader('allow', allowed.join(', '))
  replyOci(res, 405, 'UNSUPPORTED', `${method} does nothing here`)
}

function replyBase(res: ServerResponse, method: string): void {
  if (!isRead(method)) {
    replyNoMethod(res, method, READS)
    return
  }
  res.writeHead(200, {
    'content-length': 0,
    'docker-distribution-api-version': 'registry/2.0',
  })
  res.end()
}
