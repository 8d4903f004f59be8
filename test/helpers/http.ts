// A listening HTTP face with real tokens; git and the registry are absent unless given.
import type { TestContext } from 'node:test'
import { createAuthenticate } from '../../server/auth/authenticate.ts'
import { type ApiTokenRequest, createTokens } from '../../server/auth/tokens.ts'
import { createHttp, type Http, type HttpOptions } from '../../server/http/app.ts'
import type { Route } from '../../server/http/route.ts'
import { silent } from './database.ts'

export interface TestHttp {
  http: Http
  url: string
  /** fetch() with a path, as `ada` of tenant acme unless another token is given (null: none). */
  call(path: string, init?: RequestInit & { token?: string | null }): Promise<Response>
  token(request?: Partial<ApiTokenRequest>): Promise<string>
}

export async function givenHttp(
  t: TestContext,
  routes: (url: () => string) => readonly Route[],
  options: Partial<HttpOptions> = {},
): Promise<TestHttp> {
  const tokens = createTokens({ secret: 'a secret of the tests, long enough to be one' })
  let url = ''
  const http = createHttp({
    log: silent,
    git: (_ctx, next) => next(),
    registry: (_req, res) => res.writeHead(404).end(),
    authenticate: createAuthenticate({ tokens }),
    routes: routes(() => url),
    checkReplies: true,
    ...options,
  })
  url = await http.listen({ host: '127.0.0.1', port: 0 })
  t.after(() => http.stop())
  const token = (request: Partial<ApiTokenRequest> = {}) =>
    tokens.mintApi({ sub: 'ada', tenant: 'acme', ...request })
  const usual = await token()
  return {
    http,
    url,
    token,
    call(path, { token: other = usual, ...init } = {}) {
      const headers = new Headers(init.headers)
      if (other !== null) headers.set('authorization', `Bearer ${other}`)
      return fetch(`${url}${path}`, { ...init, headers })
    },
  }
}

export function jsonBody(method: string, body: unknown): RequestInit {
  return {
    method,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  }
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into documents of every shape
export async function bodyOf(reply: Response): Promise<any> {
  return reply.json()
}
