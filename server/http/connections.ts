// The node server under the HTTP face: what a connection may cost that is no request yet, or no longer one. Slow or
// broken heads are answered in the shape of every error, bodies that nobody waits for are cut off.

import type { ServerResponse } from 'node:http'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import type { Socket } from 'node:net'
import { type ErrorCode, statusOf } from '../errors.ts'
import {
  HTTP_HEADERS_BYTES_MAX,
  HTTP_HEADERS_DEADLINE_MS,
  HTTP_LEFTOVER_BYTES_MIN,
  HTTP_LEFTOVER_LOOK_MS,
  HTTP_REFUSAL_LINGER_MS,
  HTTP_REQUESTS_PER_CONNECTION_MAX,
  TCP_KEEPALIVE_MS,
  UPLOAD_DEADLINE_MS,
} from '../limits.ts'

export interface ConnectionLimits {
  /** From the first byte of a request, or from connecting, to the end of its headers. */
  headersDeadlineMs: number
  /** How often a body that goes on after its answer is looked at. */
  leftoverLookMs: number
  /** How long who was refused may take to read why. */
  lingerMs: number
}

interface Asked {
  req: IncomingMessage
  res: ServerResponse
}

export function createConnections(
  handle: RequestListener,
  limits: Partial<ConnectionLimits> = {},
): Server {
  const { headersDeadlineMs = HTTP_HEADERS_DEADLINE_MS } = limits
  const { leftoverLookMs = HTTP_LEFTOVER_LOOK_MS, lingerMs = HTTP_REFUSAL_LINGER_MS } = limits
  const asked = new WeakMap<Socket, Asked[]>()
  const refused = new WeakSet<Socket>()

  function begin(req: IncomingMessage, res: ServerResponse): void {
    const { socket } = req
    const queue = asked.get(socket) ?? []
    if (!asked.has(socket)) {
      asked.set(socket, queue)
      socket.once('close', () => queue.splice(1))
    }
    if (refused.has(socket) || queue.length >= HTTP_REQUESTS_PER_CONNECTION_MAX) {
      socket.destroy()
      return
    }
    queue.push({ req, res })
    if (queue.length === 1) serve(queue)
  }

  /**
   * One after the other, also when they come at once: node does not tell an answer that waits behind another one
   * when the connection is gone.
   */
  function serve(queue: Asked[]): void {
    const [first] = queue
    if (!first || first.req.socket.destroyed) return
    const { req, res } = first
    res.once('close', () => {
      queue.shift()
      cutLeftover(req, leftoverLookMs)
      serve(queue)
    })
    handle(req, res)
  }

  /** Only where nothing else is being answered: bytes in the middle of an answer would be taken for its own. */
  function refuse(error: NodeJS.ErrnoException, socket: Socket): void {
    if (refused.has(socket)) return
    refused.add(socket)
    const [first, ...others] = asked.get(socket) ?? []
    const isBetween = others.length === 0 && !first?.res.headersSent
    if (!isBetween || !socket.writable || error.code === 'ECONNRESET') {
      socket.destroy()
      return
    }
    socket.end(refusal(error, headersDeadlineMs))
    const late = setTimeout(() => socket.destroy(), lingerMs)
    socket.once('close', () => clearTimeout(late))
  }

  const server = createServer(
    {
      // A push may take as long as it takes; only headers have a deadline here, bodies have their readers'.
      requestTimeout: 0,
      headersTimeout: headersDeadlineMs,
      connectionsCheckingInterval: Math.ceil(headersDeadlineMs / 4),
      maxHeaderSize: HTTP_HEADERS_BYTES_MAX,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEPALIVE_MS,
    },
    begin,
  )
  // Beyond a number node leaves headers out without a word; their bytes are bounded.
  server.maxHeadersCount = 0
  server.on('clientError', (error, socket) => refuse(error, socket as Socket))
  return server
}

/** Who was answered before the body was there may go on with it, but not slowly, and not for ever. */
function cutLeftover(req: IncomingMessage, lookMs: number): void {
  const { socket } = req
  if (req.complete || socket.destroyed) return
  const deadline = performance.now() + UPLOAD_DEADLINE_MS
  let seen = socket.bytesRead
  let slow = 0
  const look = setInterval(() => {
    slow = socket.bytesRead - seen < HTTP_LEFTOVER_BYTES_MIN ? slow + 1 : 0
    seen = socket.bytesRead
    if (req.complete) over()
    else if (slow > 1 || performance.now() > deadline) socket.destroy()
  }, lookMs)
  // The connection may have many more requests: nothing of this one stays with it.
  const over = () => {
    clearInterval(look)
    socket.off('close', over)
  }
  req.once('end', over)
  socket.once('close', over)
}

const REASONS: Record<number, string> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
}

function refusal(error: NodeJS.ErrnoException, headersDeadlineMs: number): string {
  const [code, message] = explain(error, headersDeadlineMs)
  const status = statusOf(code)
  const body = JSON.stringify({ code, message })
  return [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n')
}

function explain(
  error: NodeJS.ErrnoException & { reason?: unknown },
  headersDeadlineMs: number,
): [ErrorCode, string] {
  if (error.code === 'HPE_HEADER_OVERFLOW') {
    return [
      'headers_too_large',
      `the headers of the request are larger than ${HTTP_HEADERS_BYTES_MAX} bytes`,
    ]
  }
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return [
      'request_timeout',
      `no request, or not all of its headers, came within ${headersDeadlineMs} ms`,
    ]
  }
  const why = typeof error.reason === 'string' ? error.reason : error.code
  return ['invalid_request', `that is no HTTP/1.1 request: ${why}`]
}
