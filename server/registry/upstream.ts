// How to reach the registry behind the proxy: our child on a unix socket, or REGISTRY_URL.
import http, { type ClientRequest, type OutgoingHttpHeaders } from 'node:http'
import https from 'node:https'

export type RegistryUpstream =
  | { kind: 'socket'; socketPath: string }
  | { kind: 'url'; url: string; username: string | undefined; password: string | undefined }

export interface UpstreamRequest {
  method: string
  /** Path and query. */
  path: string
  headers: OutgoingHttpHeaders
}

const agent = { keepAlive: true, maxSockets: 64 }
const httpAgent = new http.Agent(agent)
const httpsAgent = new https.Agent(agent)

/** A request that is open for its body; the caller ends it. */
export function requestUpstream(
  upstream: RegistryUpstream,
  request: UpstreamRequest,
): ClientRequest {
  const { method, path, headers } = request
  if (upstream.kind === 'socket') {
    const { socketPath } = upstream
    const own = { ...headers, host: 'registry' }
    return http.request({ socketPath, agent: httpAgent, method, path, headers: own })
  }
  const url = new URL(upstream.url)
  const own: OutgoingHttpHeaders = { ...headers, host: url.host }
  if (upstream.username !== undefined || upstream.password !== undefined) {
    const pair = `${upstream.username ?? ''}:${upstream.password ?? ''}`
    own.authorization = `Basic ${Buffer.from(pair).toString('base64')}`
  }
  const target = new URL(`${url.pathname.replace(/\/$/, '')}${path}`, url)
  if (url.protocol === 'https:') {
    return https.request(target, { agent: httpsAgent, method, headers: own })
  }
  return http.request(target, { agent: httpAgent, method, headers: own })
}
