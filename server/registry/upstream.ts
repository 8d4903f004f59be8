// How to reach the registry behind the proxy: our child on a unix socket, or REGISTRY_URL.
import http, { type ClientRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import https from 'node:https'
import type { Readable } from 'node:stream'
import { REGISTRY_REDIRECTS_MAX } from '../limits.ts'
import { type OwnRegistry, openOwn } from './own/own-registry.ts'
import { send } from './send.ts'

export interface ForeignRegistry {
  kind: 'url'
  url: string
  username: string | undefined
  password: string | undefined
}

export type RegistryUpstream = OwnRegistry | ForeignRegistry

export interface UpstreamRequest {
  method: string
  /** Path and query. */
  path: string
  headers: OutgoingHttpHeaders
  /** A stream is sent as it comes. */
  body?: Readable | Buffer | undefined
  /** Ends the exchange, also while the reply's body is being read. */
  signal: AbortSignal
}

/** Resolves with the reply's head; its body is read by the caller. Rejects when there is none. */
export async function openUpstream(
  upstream: RegistryUpstream,
  request: UpstreamRequest,
): Promise<IncomingMessage> {
  if (upstream.kind === 'socket') return openOwn(upstream, request)
  const reply = await send(begin(upstream, request), request.body)
  if (request.body !== undefined) return reply
  return follow(reply, new URL(upstream.url), request)
}

/** The part of the upstream's paths that its clients must not see. */
export function pathPrefix(upstream: RegistryUpstream): string {
  return upstream.kind === 'url' ? new URL(upstream.url).pathname.replace(/\/+$/, '') : ''
}

function begin(upstream: ForeignRegistry, request: UpstreamRequest): ClientRequest {
  const { method, path, headers, signal } = request
  const target = new URL(`${pathPrefix(upstream)}${path}`, upstream.url)
  const own: OutgoingHttpHeaders = { ...headers, host: target.host }
  if (upstream.username !== undefined || upstream.password !== undefined) {
    const pair = `${upstream.username ?? ''}:${upstream.password ?? ''}`
    own.authorization = `Basic ${Buffer.from(pair).toString('base64')}`
  }
  return requestUrl(target, { method, headers: own, signal })
}

function requestUrl(target: URL, options: http.RequestOptions): ClientRequest {
  return (target.protocol === 'https:' ? https : http).request(target, options)
}

/** Registries on object storage send readers of blobs there; clients of ours may have no way to it. */
async function follow(
  first: IncomingMessage,
  origin: URL,
  { method, headers, signal }: UpstreamRequest,
): Promise<IncomingMessage> {
  let reply = first
  let from = origin
  for (let hops = 0; isRedirect(reply) && (method === 'GET' || method === 'HEAD'); hops += 1) {
    const to = new URL(reply.headers.location ?? '', from)
    if (to.host === origin.host) return reply
    reply.resume()
    if (hops >= REGISTRY_REDIRECTS_MAX) throw new Error('the registry redirects too often')
    // Signed addresses carry their own credentials; ours stay with the registry.
    const { accept, range } = headers
    const own = { ...(accept ? { accept } : {}), ...(range ? { range } : {}) }
    reply = await send(requestUrl(to, { method, headers: own, signal }), undefined)
    from = to
  }
  return reply
}

function isRedirect({ statusCode = 0, headers }: IncomingMessage): boolean {
  return [301, 302, 303, 307, 308].includes(statusCode) && headers.location !== undefined
}
