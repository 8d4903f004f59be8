// How to reach the registry behind the proxy: our child on a unix socket, or REGISTRY_URL.
import http, { type ClientRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import https from 'node:https'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { REGISTRY_IDLE_MAX_MS, REGISTRY_REDIRECTS_MAX } from '../limits.ts'

export type RegistryUpstream =
  | { kind: 'socket'; socketPath: string }
  | { kind: 'url'; url: string; username: string | undefined; password: string | undefined }

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
  const reply = await send(begin(upstream, request), request)
  if (upstream.kind === 'socket' || request.body !== undefined) return reply
  return follow(reply, new URL(upstream.url), request)
}

/** The part of the upstream's paths that its clients must not see. */
export function pathPrefix(upstream: RegistryUpstream): string {
  return upstream.kind === 'url' ? new URL(upstream.url).pathname.replace(/\/+$/, '') : ''
}

function begin(upstream: RegistryUpstream, request: UpstreamRequest): ClientRequest {
  const { method, path, headers, signal } = request
  if (upstream.kind === 'socket') {
    const { socketPath } = upstream
    return http.request({
      socketPath,
      method,
      path,
      headers: { ...headers, host: 'registry' },
      signal,
    })
  }
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

function send(
  sent: ClientRequest,
  { body }: Pick<UpstreamRequest, 'body'>,
): Promise<IncomingMessage> {
  sent.setTimeout(REGISTRY_IDLE_MAX_MS, () =>
    sent.destroy(new Error(`nothing moved for ${REGISTRY_IDLE_MAX_MS / 1000} s`)),
  )
  const replied = new Promise<IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve)
    sent.on('error', reject) // after the reply's head its reader meets the error as well
  })
  if (body === undefined || Buffer.isBuffer(body)) sent.end(body)
  // The registry may answer before the body is sent; then its answer counts, not the broken upload.
  else pipeline(body, sent).catch(() => {})
  return replied
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
    reply = await send(requestUrl(to, { method, headers: own, signal }), {})
    from = to
  }
  return reply
}

function isRedirect({ statusCode = 0, headers }: IncomingMessage): boolean {
  return [301, 302, 303, 307, 308].includes(statusCode) && headers.location !== undefined
}
