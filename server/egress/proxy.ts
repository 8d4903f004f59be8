// The guest's only way out: an HTTP proxy (CONNECT, and absolute-form requests) over sockets the runner
// hands in. It listens nowhere.
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { asError } from '../errors.ts'
import { EGRESS_CONNECTIONS_MAX, EGRESS_IDLE_MAX_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import { createDial, EgressRefused, type Resolve } from './dial.ts'

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

export interface EgressProxyOptions {
  allowAddresses: readonly string[]
  log: Log
  resolve?: Resolve
}

export interface EgressProxy {
  /** Serves one connection of a guest. */
  handle(socket: Socket): void
  close(): void
}

export function createEgressProxy(options: EgressProxyOptions): EgressProxy {
  const { allowAddresses, log, resolve } = options
  const dial = createDial({ allowAddresses, ...(resolve ? { resolve } : {}) })
  const open = new Set<Socket>()
  const server = http.createServer({ requestTimeout: 0 })
  server.on('connect', (req, client: Duplex, head) => void tunnel(req, client, head))
  server.on('request', (req, res) => void relay(req, res))
  server.on('clientError', (_error, socket) => socket.destroy())

  async function tunnel(req: IncomingMessage, client: Duplex, head: Buffer): Promise<void> {
    client.on('error', () => {}) // 'close' follows and ends the other side
    const target = parseAuthority(req.url ?? '')
    try {
      if (!target) throw new EgressRefused(`${req.url} is not host:port`)
      const upstream = await dial(target.host, target.port)
      log.info({ host: target.host, port: target.port }, 'egress')
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      upstream.write(head)
      join(client, upstream)
    } catch (error) {
      const { status, message } = explain(error)
      log.info({ target: req.url, status, message }, 'egress refused')
      client.end(
        `HTTP/1.1 ${status}\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: ${Buffer.byteLength(message)}\r\n\r\n${message}`,
      )
    }
  }

  async function relay(req: IncomingMessage, res: ServerResponse): Promise<void> {
    try {
      const url = URL.canParse(req.url ?? '') ? new URL(req.url ?? '') : undefined
      if (url?.protocol !== 'http:')
        throw new EgressRefused('only http:// URLs and CONNECT are served')
      const socket = await dial(unbracket(url.hostname), Number(url.port || 80))
      log.info({ host: url.hostname, port: url.port || 80 }, 'egress')
      const sent = http.request({
        createConnection: () => socket,
        method: req.method ?? 'GET',
        path: url.pathname + url.search,
        headers: { ...withoutHops(req.headers), host: url.host },
        setHost: false,
      })
      res.once('close', () => sent.destroy())
      const replied = new Promise<IncomingMessage>((done, fail) => {
        sent.once('response', done)
        sent.once('error', fail)
      })
      pipeline(req, sent).catch(() => {}) // the reply or its error is what counts
      const reply = await replied
      res.writeHead(reply.statusCode ?? 502, withoutHops(reply.headers))
      await pipeline(reply, res)
    } catch (error) {
      if (res.headersSent) {
        res.destroy()
        return
      }
      const { status, message } = explain(error)
      res.writeHead(Number(status.slice(0, 3)), {
        'content-type': 'text/plain',
        connection: 'close',
      })
      res.end(message)
    }
  }

  return {
    handle(socket) {
      if (open.size >= EGRESS_CONNECTIONS_MAX) {
        socket.destroy()
        return
      }
      open.add(socket)
      socket.once('close', () => open.delete(socket))
      server.emit('connection', socket)
    },
    close() {
      for (const socket of open) socket.destroy()
      server.close()
    },
  }
}

/** Bytes both ways, half-closes kept, until both ends are done or nothing moves for too long. */
function join(a: Duplex, b: Socket): void {
  b.setTimeout(EGRESS_IDLE_MAX_MS, () => b.destroy())
  const end = () => {
    a.destroy()
    b.destroy()
  }
  Promise.all([pipeline(a, b), pipeline(b, a)]).then(end, end)
}

export function parseAuthority(text: string): { host: string; port: number } | undefined {
  const [, host = '', port = ''] = /^(\[[0-9a-fA-F:.]+\]|[^:/?#\s]+):(\d{1,5})$/.exec(text) ?? []
  const number = Number(port)
  return host && number > 0 && number < 65_536 ? { host: unbracket(host), port: number } : undefined
}

const unbracket = (host: string) => host.replace(/^\[(.*)\]$/, '$1')

function withoutHops(headers: IncomingMessage['headers']): Record<string, string | string[]> {
  const named = String(headers.connection ?? '')
    .toLowerCase()
    .split(/\s*,\s*/)
  const kept: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !HOP_HEADERS.has(name) && !named.includes(name)) kept[name] = value
  }
  return kept
}

function explain(error: unknown): { status: string; message: string } {
  const { message } = asError(error)
  if (error instanceof EgressRefused)
    return { status: '403 Forbidden', message: `refused: ${message}\n` }
  if (/within \d+ s/.test(message))
    return { status: '504 Gateway Timeout', message: `${message}\n` }
  return { status: '502 Bad Gateway', message: `cannot reach the server: ${message}\n` }
}
