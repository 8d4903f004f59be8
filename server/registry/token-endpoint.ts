// Docker's token endpoint: docker, podman and skopeo log in with the API token as password and get a short
// token for what they ask for and may have.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { RepoAccess, Tokens } from '../auth/tokens.ts'
import { JSON_BODY_BYTES_MAX, REGISTRY_SESSION_TTL_SECONDS, TOKEN_SCOPES_MAX } from '../limits.ts'
import type { Grants } from './grants.ts'
import type { Identified, Identify } from './identify.ts'
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
    const form = req.method === 'POST' ? await readForm(req) : new URLSearchParams()
    if (!form) {
      res.setHeader('connection', 'close')
      return replyOci(res, 413, 'UNSUPPORTED', `the form is over ${JSON_BODY_BYTES_MAX} bytes`)
    }
    const passwords = ['password', 'refresh_token'].flatMap((name) => form.getAll(name))
    const known = await identify([...passwords, ...request.candidates])
    if (!known) {
      res.setHeader('www-authenticate', 'Basic realm="hypeman"')
      return replyOci(res, 401, 'UNAUTHORIZED', 'the API token goes into the password')
    }
    const scopes = [...request.params.getAll('scope'), ...form.getAll('scope')]
    const token = await exchange(known, parseScopes(scopes))
    res.setHeader('cache-control', 'no-store')
    replyJson(res, 200, {
      token,
      access_token: token,
      expires_in: REGISTRY_SESSION_TTL_SECONDS,
      issued_at: new Date().toISOString(),
    })
  }

  /** A registry token already says what it may do; it is given back as it is. */
  async function exchange({ caller, token }: Identified, asked: RepoAccess[]): Promise<string> {
    if (caller.kind === 'grant') return token
    const { principal } = caller
    const access = await grants.intersect(caller, asked)
    const ttlSeconds = REGISTRY_SESSION_TTL_SECONDS
    return tokens.mintRegistrySession({ principal, access, ttlSeconds })
  }
}

/** `repository:<name>:pull,push`, repeated or joined by spaces; what is no such thing is left out. */
export function parseScopes(scopes: readonly string[]): RepoAccess[] {
  const asked: RepoAccess[] = []
  for (const scope of scopes.flatMap((value) => value.split(' '))) {
    const [type, repo = '', list = '', ...more] = scope.split(':')
    if (type !== 'repository' || more.length > 0 || !isRepoName(repo)) continue
    const actions = list.split(',')
    if (actions.includes('push')) asked.push({ repo, scope: 'push' })
    else if (actions.includes('pull')) asked.push({ repo, scope: 'pull' })
  }
  return asked.slice(0, TOKEN_SCOPES_MAX)
}

/** undefined when there is too much of it. */
async function readForm(req: IncomingMessage): Promise<URLSearchParams | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  // The answer still has to go out when the loop is left.
  for await (const chunk of req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > JSON_BODY_BYTES_MAX) return undefined
    chunks.push(chunk)
  }
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'))
}
