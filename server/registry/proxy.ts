// Everything under /v2: authorises each request for its repository, then streams both ways to the registry
// behind. Stateless, so it serves the public port and, in each worker, the guests' tunnels alike.
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { tokenCandidates } from '../auth/authenticate.ts'
import type { Tokens } from '../auth/tokens.ts'
import { AppError, asError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import type { Caller, Grants, RepoAction } from './grants.ts'
import { parseRoute, type RegistryRoute } from './names.ts'
import { replyOci, replyUnauthorized } from './replies.ts'
import { createTokenEndpoint } from './token-endpoint.ts'
import { type RegistryUpstream, requestUpstream } from './upstream.ts'

export interface RegistryProxyOptions {
  upstream: RegistryUpstream
  tokens: Tokens
  grants: Grants
  /** Scheme and host as this request's client knows us, for the challenge. */
  baseUrl(req: IncomingMessage): string
  log: Log
}

export type RegistryProxy = (req: IncomingMessage, res: ServerResponse) => Promise<void>

type RepoRoute = Extract<RegistryRoute, { repo: string }>

const REQUEST_HEADERS = [
  'accept',
  'content-type',
  'content-length',
  'content-range',
  'range',
  'if-none-match',
  'user-agent',
]
const DROPPED_REPLY_HEADERS = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'www-authenticate',
])

export function createRegistryProxy(options: RegistryProxyOptions): RegistryProxy {
  const { upstream, tokens, grants, baseUrl, log } = options
  const tokenEndpoint = createTokenEndpoint({ tokens, grants, identify })

  /** The first candidate that is a token of ours. */
  async function identify(candidates: readonly string[]): Promise<Caller | undefined> {
    for (const token of candidates) {
      const caller = await tokens
        .verifyRegistry(token)
        .then((grant): Caller => ({ kind: 'grant', grant }))
        .catch(() =>
          tokens.verifyApi(token).then((principal): Caller => ({ kind: 'user', principal })),
        )
        .catch((error) => {
          if (error instanceof AppError) return undefined
          throw error
        })
      if (caller) return caller
    }
    return undefined
  }

  async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = new URL(req.url ?? '/', 'http://localhost')
    // The URL class would resolve `..` and `//`; the registry must see what was authorised.
    const pathname = (req.url ?? '/').split('?', 1)[0] ?? '/'
    const route = parseRoute(pathname)
    if (!route)
      return replyOci(res, 404, 'NAME_INVALID', `${pathname} is no path of the registry API`)
    const candidates = tokenCandidates(req.headers.authorization ?? '')
    if (route.kind === 'token') return tokenEndpoint(req, res, candidates)
    const caller = await identify(candidates)
    const scope = 'repo' in route ? `repository:${route.repo}:${scopeActions(req)}` : undefined
    const challenge = { base: baseUrl(req), ...(scope ? { scope } : {}) }
    if (!caller) {
      const presented = candidates.length > 0 ? { error: 'invalid_token' as const } : {}
      return replyUnauthorized(
        res,
        { ...challenge, ...presented },
        'registry authentication required',
      )
    }
    if (route.kind === 'base') {
      res.writeHead(200, { 'docker-distribution-api-version': 'registry/2.0' }).end()
      return
    }
    if (route.kind === 'catalog') {
      return replyOci(
        res,
        404,
        'UNSUPPORTED',
        'the catalog is not offered; list builds through the API',
      )
    }
    if (!(await grants.allows(caller, route.repo, actionOf(req, route)))) {
      const refused = { ...challenge, error: 'insufficient_scope' as const }
      return replyUnauthorized(res, refused, `not allowed: ${actionOf(req, route)} ${route.repo}`)
    }
    await dropForeignMount(url, route, caller)
    await forward(req, res, pathname + url.search)
  }

  /** A mount from a repository the caller can't read becomes a plain upload: 202, as the spec has it. */
  async function dropForeignMount(url: URL, route: RepoRoute, caller: Caller): Promise<void> {
    if (route.kind !== 'upload' || !url.searchParams.has('mount')) return
    const from = url.searchParams.get('from')
    if (from && (await grants.allows(caller, from, 'pull'))) return
    url.searchParams.delete('mount')
    url.searchParams.delete('from')
  }

  async function forward(req: IncomingMessage, res: ServerResponse, path: string): Promise<void> {
    const headers = pick(req.headers)
    const sent = requestUpstream(upstream, { method: req.method ?? 'GET', path, headers })
    res.once('close', () => {
      if (!res.writableFinished) sent.destroy()
    })
    const replied = new Promise<IncomingMessage>((resolve, reject) => {
      sent.once('response', resolve)
      sent.once('error', reject)
    })
    // The registry may answer before the body is sent; then its answer counts, not the broken upload.
    pipeline(req, sent).catch(() => {})
    const reply = await replied
    res.writeHead(reply.statusCode ?? 502, replyHeaders(reply.headers))
    await pipeline(reply, res)
  }

  return async (req, res) => {
    try {
      await handle(req, res)
    } catch (error) {
      if (res.destroyed || res.writableEnded) return
      log.warn(
        { err: asError(error).message, path: req.url?.split('?')[0] },
        'registry request failed',
      )
      replyOci(res, 503, 'UNAVAILABLE', 'the registry cannot be reached; try again')
    }
  }
}

function actionOf(req: IncomingMessage, route: RepoRoute): RepoAction {
  if (req.method === 'GET' || req.method === 'HEAD')
    return route.kind === 'upload' ? 'push' : 'pull'
  if (req.method === 'DELETE' && route.kind !== 'upload') return 'delete'
  return 'push'
}

function scopeActions(req: IncomingMessage): string {
  return req.method === 'GET' || req.method === 'HEAD' ? 'pull' : 'pull,push'
}

function pick(headers: IncomingHttpHeaders): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const name of REQUEST_HEADERS) {
    const value = headers[name]
    if (typeof value === 'string') kept[name] = value
  }
  return kept
}

/** Locations become paths, so that they lead back through the proxy whatever the upstream is called. */
function replyHeaders(headers: IncomingHttpHeaders): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || DROPPED_REPLY_HEADERS.has(name)) continue
    kept[name] = name === 'location' ? relative(String(value)) : value
  }
  return kept
}

function relative(location: string): string {
  const url = new URL(location, 'http://localhost')
  return url.pathname + url.search
}
