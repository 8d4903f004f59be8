// One plain HTTP request of a guest over a connection that is already there, streamed both ways.
import http, {
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http'
import type { Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { Target } from './target.ts'

/** They belong to one connection, and are made anew for the other. */
const HOP_HEADERS = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

export interface Relay {
  req: IncomingMessage
  res: ServerResponse
  /** To the target; ended here. */
  socket: Socket
  target: Target
}

/** Rejects when no whole reply came through; the connection to the target is closed either way. */
export async function relayRequest({ req, res, socket, target }: Relay): Promise<void> {
  try {
    const reply = await exchange({ req, res, socket, target })
    res.writeHead(reply.statusCode ?? 502, withoutHops(reply.headers))
    await pipeline(reply, res)
  } finally {
    socket.destroy()
  }
}

function exchange({ req, res, socket, target }: Relay): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers: IncomingHttpHeaders = { ...withoutHops(req.headers), host: target.authority }
    // Whoever sends a body without a length says so; a request without both has none.
    if (req.headers['transfer-encoding']) headers['transfer-encoding'] = 'chunked'
    const sent = http.request({
      createConnection: () => socket,
      method: req.method ?? 'GET',
      path: target.path,
      headers,
      setHost: false,
    })
    sent.once('response', resolve)
    sent.on('error', reject)
    res.once('close', () => sent.destroy())
    if (res.destroyed) sent.destroy()
    // An answer may come before the body is sent; then it counts, not the broken upload.
    else pipeline(req, sent).catch(() => {})
  })
}

function withoutHops(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const named = String(headers.connection ?? '')
    .toLowerCase()
    .split(/\s*,\s*/)
  const kept: IncomingHttpHeaders = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !HOP_HEADERS.has(name) && !named.includes(name)) kept[name] = value
  }
  return kept
}
