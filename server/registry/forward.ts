// Carries one authorised request to the registry and its reply back, both streamed. Of the headers only
// those pass that the registry's API needs: no credentials, no forwarded addresses, nothing hop-by-hop.
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { unlessGone } from './client-gone.ts'
import { type BodyBounds, watchedBody } from './room.ts'
import { openUpstream, pathPrefix, type RegistryUpstream } from './upstream.ts'

const REQUEST_HEADERS = ['accept', 'if-none-match', 'range', 'user-agent']
const BODY_HEADERS = ['content-length', 'content-range']
const REPLY_HEADERS = new Set([
  'accept-ranges',
  'cache-control',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'etag',
  'last-modified',
  'link',
  'location',
  'range',
  'retry-after',
])
const REPLY_PREFIX = /^(docker|oci)-/

/** The registry refuses our own credentials: nothing the client can do about. */
export class UpstreamRefused extends Error {
  override name = 'UpstreamRefused'
}

export interface ForwardTarget {
  /** Path and query, as authorised. */
  path: string
  /** Only manifests have one that matters; a form's type would let the body override the query. */
  keepsContentType: boolean
  /** What was already read of the request, instead of its stream. */
  body?: Buffer
  /** Of what brings the data of a blob. */
  upload?: BodyBounds
  /** Called with the reply before the client sees it; gives headers to add. */
  onReply?: (reply: IncomingMessage) => Promise<Record<string, string>>
}

export async function forward(
  upstream: RegistryUpstream,
  req: IncomingMessage,
  res: ServerResponse,
  target: ForwardTarget,
): Promise<void> {
  const { path, keepsContentType, body: read, upload, onReply = async () => ({}) } = target
  const method = req.method ?? 'GET'
  const hasBody = method === 'POST' || method === 'PUT' || method === 'PATCH'
  if (!hasBody) req.resume()
  const names = [
    ...REQUEST_HEADERS,
    ...(hasBody ? BODY_HEADERS : []),
    ...(keepsContentType ? ['content-type'] : []),
  ]
  const headers = pick(req.headers, names)
  if (read) headers['content-length'] = String(read.length)
  await unlessGone(res, async (signal) => {
    await upload?.requireRoom?.()
    const watched = upload && hasBody ? watchedBody(req, upload) : undefined
    const body = hasBody ? (read ?? watched?.body ?? req) : undefined
    const request = { method, path, headers, body, signal }
    const reply = await openUpstream(upstream, request).catch((error) => {
      if (watched) req.resume() // who sends a blob reads no answer before
      throw watched?.error() ?? error
    })
    if (reply.statusCode === 401) {
      reply.resume()
      throw new UpstreamRefused(`the registry answered 401 to ${method} ${path.split('?', 1)[0]}`)
    }
    const added = await onReply(reply).catch((error) => {
      reply.resume()
      throw error
    })
    const passed = replyHeaders(reply.headers, pathPrefix(upstream))
    res.writeHead(reply.statusCode ?? 502, { ...passed, ...added })
    await pipeline(reply, res)
  })
}

function pick(headers: IncomingHttpHeaders, names: readonly string[]): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const name of names) {
    const value = headers[name]
    if (typeof value === 'string') kept[name] = value
  }
  return kept
}

/** Addresses become paths, so that they lead back through the proxy whatever the upstream is called. */
function replyHeaders(headers: IncomingHttpHeaders, prefix: string): IncomingHttpHeaders {
  const kept: IncomingHttpHeaders = {}
  for (const [name, value] of Object.entries(headers)) {
    if (!REPLY_HEADERS.has(name) && !REPLY_PREFIX.test(name)) continue
    if (name === 'location') kept[name] = relative(String(value), prefix)
    else if (name === 'link') {
      kept[name] = String(value).replace(
        /<([^>]*)>/g,
        (_, to: string) => `<${relative(to, prefix)}>`,
      )
    } else kept[name] = value
  }
  return kept
}

function relative(address: string, prefix: string): string {
  const url = new URL(address, 'http://localhost')
  const path = url.pathname.startsWith(`${prefix}/`)
    ? url.pathname.slice(prefix.length)
    : url.pathname
  return path + url.search
}
