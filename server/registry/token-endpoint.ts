// Docker's token endpoint: docker, podman and skopeo log in with an API or registry token as password and get a
// short token for what they ask for and may have, which ends with the one it was had for.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { RepoAccess } from '../auth/registry-claims.ts'
import type { SessionTokenRequest, Tokens } from '../auth/tokens.ts'
import { JSON_BODY_BYTES_MAX, REGISTRY_SESSION_TTL_SECONDS, TOKEN_SCOPES_MAX } from '../limits.ts'
import { readBody } from './body.ts'
import type { Caller, Grants } from './grants.ts'
import type { Identify } from './identify.ts'
import { isRepoName } from './names.ts'
import { replyJson, replyOci } from './replies.ts'

export interface TokenEndpointOptions {
  tokens: Pick<Tokens, 'mintRegistrySession'>
  grants: Grants
  identify: Identify
}

export interface TokenRequest {
  /** Tokens presented in the header. */
  candidates: readonly string[]
  /** Of the query. */
  params: URLSearchParams
}

export function createTokenEndpoint({ tokens, grants, identify }: TokenEndpointOptions) {
  return async (req: IncomingMessage, res: ServerResponse, request: TokenRequest) => {
    if (req.method !== 'GET' && req.method !== 'POST') {
      res.setHeader('allow', 'GET, POST')
      return replyOci(res, 405, 'UNSUPPORTED', `${req.method} does nothing here`)
    }
    const body = req.method === 'POST' ? await readBody(req, JSON_BODY_BYTES_MAX) : Buffer.alloc(0)
    if (!body) {
      res.setHeader('connection', 'close')
      return replyOci(res, 413, 'UNSUPPORTED', `the form is over ${JSON_BODY_BYTES_MAX} bytes`)
    }
    const form = new URLSearchParams(body.toString('utf8'))
    const passwords = ['password', 'refresh_token'].flatMap((name) => form.getAll(name))
    const presented = [...passwords, ...request.candidates]
    const caller = await identify(presented)
    if (!caller) {
      res.setHeader('www-authenticate', 'Basic realm="hypeman"')
      const given = 'the password is no token that is valid: it may have expired or been revoked'
      const message = presented.length > 0 ? given : 'the API token goes into the password'
      return replyOci(res, 401, 'UNAUTHORIZED', message)
    }
    const scopes = [...request.params.getAll('scope'), ...form.getAll('scope')]
    const access = await grants.intersect(caller, parseScopes(scopes))
    const catalog = asksCatalog(scopes) ? grants.catalogScope(caller) : undefined
    const { holder, ttlSeconds } = sessionOf(caller)
    const token = await tokens.mintRegistrySession({ holder, access, catalog, ttlSeconds })
    res.setHeader('cache-control', 'no-store')
    replyJson(res, 200, {
      token,
      access_token: token,
      expires_in: ttlSeconds,
      issued_at: new Date().toISOString(),
    })
  }
}

/** Changing a registry token for another never makes it last longer. */
function sessionOf(caller: Caller): Pick<SessionTokenRequest, 'holder' | 'ttlSeconds'> {
  if (caller.kind === 'user') {
    const { user, tenant, jti } = caller.principal
    const holder = { subject: user, tenant, buildId: undefined, jti }
    return { holder, ttlSeconds: REGISTRY_SESSION_TTL_SECONDS }
  }
  const left = Math.floor((caller.grant.expiresAt.getTime() - Date.now()) / 1000)
  const ttlSeconds = Math.max(1, Math.min(left, REGISTRY_SESSION_TTL_SECONDS))
  return { holder: caller.grant, ttlSeconds }
}

/** `repository:<name>:pull,push`, repeated or joined by spaces; `*` is all; what is no such thing is left out. */
export function parseScopes(scopes: readonly string[]): RepoAccess[] {
  const asked: RepoAccess[] = []
  for (const scope of split(scopes)) {
    const [type, repo = '', list = '', ...more] = scope.split(':')
    if (type !== 'repository' || more.length > 0 || !isRepoName(repo)) continue
    const actions = list.split(',')
    const wants = (action: string) => actions.includes(action) || actions.includes('*')
    if (wants('push')) asked.push({ repo, scope: 'push' })
    else if (wants('pull')) asked.push({ repo, scope: 'pull' })
    if (wants('delete')) asked.push({ repo, scope: 'delete' })
  }
  return asked.slice(0, TOKEN_SCOPES_MAX)
}

const split = (scopes: readonly string[]) => scopes.flatMap((value) => value.split(' '))

function asksCatalog(scopes: readonly string[]): boolean {
  return split(scopes).includes('registry:catalog:*')
}
