// Docker's token endpoint: docker, podman and skopeo log in with the API token as password and get a short
// token for what they ask for and may have.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { RepoAccess, Tokens } from '../auth/tokens.ts'
import { JSON_BODY_BYTES_MAX, REGISTRY_SESSION_TTL_SECONDS, TOKEN_SCOPES_MAX } from '../limits.ts'
import type { Caller, Grants } from './grants.ts'
import { isRepoName } from './names.ts'
import { replyJson, replyOci } from './replies.ts'

export interface TokenEndpointOptions {
  tokens: Tokens
  grants: Grants
  /** Who is behind these candidates for a token; undefined = nobody. */
  identify(candidates: readonly string[]): Promise<Caller | undefined>
}

export function createTokenEndpoint({ tokens, grants, identify }: TokenEndpointOptions) {
  return async (req: IncomingMessage, res: ServerResponse, candidates: string[]): Promise<void> => {
    const query = new URL(req.url ?? '', 'http://localhost').searchParams
    const form = req.method === 'POST' ? await readForm(req) : new URLSearchParams()
    if (!form) return replyOci(res, 400, 'UNSUPPORTED', 'the form is too large')
    const passwords = ['password', 'refresh_token'].flatMap((name) => form.getAll(name))
    const caller = await identify([...passwords, ...candidates])
    if (!caller) {
      res.setHeader('www-authenticate', 'Basic realm="hypeman"')
      return replyOci(res, 401, 'UNAUTHORIZED', 'the API token goes into the password')
    }
    const scopes = [...query.getAll('scope'), ...form.getAll('scope')]
    const access = await grants.intersect(caller, parseScopes(scopes))
    const token = await mint(caller, access, [...passwords, ...candidates])
    replyJson(res, 200, {
      token,
      access_token: token,
      expires_in: REGISTRY_SESSION_TTL_SECONDS,
      issued_at: new Date().toISOString(),
    })
  }

  // A registry token already says what it may do; it is given back as it is.
  function mint(
    caller: Caller,
    access: RepoAccess[],
    candidates: string[],
  ): Promise<string> | string {
    if (caller.kind === 'grant') return candidates[0] ?? ''
    const { principal } = caller
    return tokens.mintRegistrySession({
      principal,
      access,
      ttlSeconds: REGISTRY_SESSION_TTL_SECONDS,
    })
  }
}

/** `repository:<name>:pull,push`, repeated or joined by spaces; what is no such thing is left out. */
export function parseScopes(scopes: readonly string[]): RepoAccess[] {
  const asked: RepoAccess[] = []
  for (const scope of scopes.flatMap((value) => value.split(' '))) {
    const [type, ...rest] = scope.split(':')
    const actions = (rest.pop() ?? '').split(',')
    const repo = rest.join(':')
    if (type !== 'repository' || !isRepoName(repo)) continue
    asked.push({ repo, scope: actions.includes('push') ? 'push' : 'pull' })
  }
  return asked.slice(0, TOKEN_SCOPES_MAX)
}

async function readForm(req: IncomingMessage): Promise<URLSearchParams | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of req as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > JSON_BODY_BYTES_MAX) return undefined
    chunks.push(chunk)
  }
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'))
}
