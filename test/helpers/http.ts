// A listening HTTP face with real tokens; git and the registry are absent unless given.
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { createAuthenticate } from '../../server/auth/authenticate.ts'
import { type ApiTokenRequest, createTokens } from '../../server/auth/tokens.ts'
import { createHttp, type Http, type HttpOptions } from '../../server/http/app.ts'
import { statusesOf } from '../../server/http/openapi.ts'
import type { Route } from '../../server/http/route.ts'
import type { Served } from '../../server/telemetry/http-metrics.ts'
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
  const rows = routes(() => url)
  const strangers = createStrangers(rows)
  const http = createHttp({
    log: silent,
    git: (_ctx, next) => next(),
    registry: (_req, res) => res.writeHead(404).end(),
    authenticate: createAuthenticate({ tokens }),
    routes: rows,
    checkReplies: true,
    ...options,
    onServed(served) {
      strangers.look(served)
      options.onServed?.(served)
    },
  })
  url = await http.listen({ host: '127.0.0.1', port: 0 })
  t.after(async () => {
    await http.stop()
    assert.deepEqual(strangers.seen, [], 'replies that the API document does not have')
  })
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

/** Every reply of a row must be one its part of the API document has. */
function createStrangers(rows: readonly Route[]) {
  const seen: string[] = []
  return {
    seen,
    look({ method, route, status }: Served): void {
      const asked = method === 'HEAD' ? 'get' : method.toLowerCase()
      const row = rows.find((other) => other.path === route && other.method === asked)
      if (row && !statusesOf(row).has(status)) seen.push(`${method} ${route} ${status}`)
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
