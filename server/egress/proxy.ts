// One build's only way out: an HTTP proxy (CONNECT, and absolute-form requests) over sockets the runner hands
// in. It listens nowhere.
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import {
  EGRESS_ATTEMPTS_PER_BUILD_MAX,
  EGRESS_CONNECTIONS_MAX,
  EGRESS_IDLE_MAX_MS,
} from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import { createDial, type DialOptions } from './dial.ts'
import { checkDomain } from './domains.ts'
import type { EgressEvent, Origin } from './events.ts'
import { readOrigin } from './origin.ts'
import { createRecorded } from './recorded.ts'
import { EgressRefused, explain, type Refusal, rawReply } from './refusals.ts'
import { relayRequest } from './relay.ts'
import { createResolve, type Resolve } from './resolve.ts'
import { parseAuthority, parseTarget, type Target } from './target.ts'

const REFUSAL_GRACE_MS = 1_000

export interface EgressProxyOptions {
  /** Undefined: every public host. */
  allowedDomains?: readonly string[] | undefined
  /** Addresses that may be reached although they are not public, on any port. */
  allowAddresses: readonly string[]
  /** Of public addresses. */
  ports?: readonly number[]
  log: Log
  /** The system's resolver, unless a test brings its own. */
  resolve?: Resolve
  ownAddresses?: DialOptions['ownAddresses']
  outbound?: DialOptions['outbound']
  connectionsMax?: number
  attemptsMax?: number
  idleMaxMs?: number
  /** Told of each connection the build asks for, and of its end. */
  onEvent?: (event: EgressEvent) => void
}

export interface EgressProxy {
  /** Serves one connection of a guest, and owns it from here on. */
  handle(socket: Socket): void
  /** Connections of which the guest's agent has said whose they are. */
  named(): number
  /** Ends every connection, and tells of each end before it returns. */
  close(): void
}

export function createEgressProxy(options: EgressProxyOptions): EgressProxy {
  const { allowAddresses, allowedDomains, log, onEvent = () => {}, ownAddresses, ports } = options
  const resolve = options.resolve ?? createResolve()
  const idleMaxMs = options.idleMaxMs ?? EGRESS_IDLE_MAX_MS
  const connectionsMax = options.connectionsMax ?? EGRESS_CONNECTIONS_MAX
  const attemptsMax = options.attemptsMax ?? EGRESS_ATTEMPTS_PER_BUILD_MAX
  const dialPublic = createDial({
    allowAddresses,
    resolve,
    outbound: options.outbound,
    ...(ports ? { ports } : {}),
    ...(ownAddresses ? { ownAddresses } : {}),
  })
  /** The guests' sides; each takes its other side with it when it ends. */
  const open = new Set<Socket>()
  const recorded = createRecorded(onEvent)
  let attempts = 0
  let isClosed = false
  const origins = new WeakMap<Duplex, Origin>()
  let named = 0
  const server = http.createServer({ requestTimeout: 0 })
  server.timeout = idleMaxMs
  server.on('connect', (req, client: Duplex, head) => void tunnel(req, client, head))
  server.on('request', (req, res) => void relay(req, res))

  function count(): void {
    attempts += 1
    if (attempts <= attemptsMax) return
    throw new EgressRefused(`a build may ask for ${attemptsMax} connections, and has`)
  }

  /** One that says something else than an agent or a client would is cut off. */
  async function admit(guest: Socket): Promise<void> {
    try {
      const origin = await readOrigin(guest, idleMaxMs)
      if (origin) {
        named += 1
        origins.set(guest, origin)
      }
      if (!guest.destroyed) server.emit('connection', guest)
    } catch {
      guest.destroy()
    }
  }

  async function dial({ host, port }: Target, guest: Duplex): Promise<Socket> {
    checkDomain(host, port, allowedDomains)
    const { socket, address } = await dialPublic(host, port)
    if (isClosed) {
      socket.destroy()
      throw new EgressRefused('the build is over')
    }
    log.info({ host, port, address }, 'egress')
    recorded.add({ socket, host, port, address, origin: origins.get(guest) })
    socket.setTimeout(idleMaxMs, () => socket.destroy())
    return socket
  }

  async function tunnel(req: IncomingMessage, client: Duplex, head: Buffer): Promise<void> {
    client.on('error', () => {}) // 'close' follows and ends the other side
    const target = parseAuthority(req.url ?? '')
    try {
      count()
      if (!target) throw new EgressRefused('CONNECT wants host:port')
      const socket = await dial(target, client)
      if (client.destroyed) {
        socket.destroy()
        return
      }
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      if (head.length > 0) socket.write(head)
      join(client, socket)
    } catch (error) {
      refuse(client, noted(error, target, client))
    }
  }

  async function relay(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const target = parseTarget(req.url ?? '')
    try {
      count()
      if (!target) throw new EgressRefused('only http:// URLs and CONNECT are served')
      const socket = await dial(target, req.socket)
      await relayRequest({ req, res, socket, target })
    } catch (error) {
      if (res.headersSent || res.destroyed) {
        res.destroy()
        return
      }
      const { status, message } = noted(error, target, req.socket)
      res.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' })
      res.end(message)
    }
  }

  /** Logged without the rest of the URL, which may hold a secret of the build. */
  function noted(error: unknown, target: Target | undefined, guest: Duplex): Refusal {
    const refusal = explain(error)
    const { status, message } = refusal
    const { host = '', port = 0 } = target ?? {}
    log.info({ host, port, status, why: message.trim() }, 'no egress')
    const isRefused = error instanceof EgressRefused
    const origin = origins.get(guest)
    // Those over the limit can't all be kept: the first one stands for them.
    if (attempts <= attemptsMax + 1 && !isClosed) {
      onEvent({
        function: isRefused ? 'egress_refused' : 'egress_failed',
        host,
        port,
        ...(origin ? { origin } : {}),
        reason: isRefused ? error.message : message.trim(),
        at: new Date(),
      })
    }
    return refusal
  }

  return {
    handle(socket) {
      socket.on('error', () => {}) // 'close' follows
      if (open.size >= connectionsMax) {
        const message = 'too many connections at once; try again\n'
        refuse(socket, { status: 503, reason: 'Service Unavailable', message })
        return
      }
      // Otherwise Node answers a guest that has nothing more to say by ending the other direction too.
      socket.allowHalfOpen = true
      open.add(socket)
      socket.once('close', () => open.delete(socket))
      void admit(socket)
    },
    named: () => named,
    close() {
      isClosed = true
      for (const socket of open) socket.destroy()
      recorded.close()
      server.close()
    },
  }
}

/** Answers and hangs up, also on a guest that would rather keep the connection. */
function refuse(guest: Duplex, refusal: Refusal): void {
  const hangUp = setTimeout(() => guest.destroy(), REFUSAL_GRACE_MS)
  guest.once('close', () => clearTimeout(hangUp))
  guest.end(rawReply(refusal))
  guest.resume()
}

/** Bytes both ways, half-closes kept, until both ends are done or nothing moves for too long. */
function join(guest: Duplex, remote: Socket): void {
  const end = () => {
    guest.destroy()
    remote.destroy()
  }
  Promise.all([pipeline(guest, remote), pipeline(remote, guest)]).then(end, end)
}
