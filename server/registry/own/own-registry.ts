// The way to our own registry, for everybody: its proxies and the server's own client. Writes pass the gate from
// the moment in which they take effect to their answer; what is answered to readers is marked as seen.
import http, { type ClientRequest, type IncomingMessage } from 'node:http'
import { Transform } from 'node:stream'
import { digestOf } from '../digest.ts'
import { isDigest, parseRoute } from '../names.ts'
import { send } from '../send.ts'
import type { UpstreamRequest } from '../upstream.ts'
import { createRegistryStorage, type RegistryStorage } from './storage.ts'
import { createWriteGate, type WriteGate, type WriteGateOptions } from './write-gate.ts'

export interface OwnRegistry {
  kind: 'socket'
  socketPath: string
  gate: WriteGate
  storage: RegistryStorage
}

const READS = ['GET', 'HEAD']
const FOUND = [200, 206, 304]
/** A link that was collected between the answer and its mark is asked for again, and is then not there. */
const READS_MAX = 3

export function createOwnRegistry(
  { socketPath, dataDir }: { socketPath: string; dataDir: string },
  gateOptions: WriteGateOptions = {},
): OwnRegistry {
  const gate = createWriteGate(gateOptions)
  return { kind: 'socket', socketPath, gate, storage: createRegistryStorage(dataDir) }
}

export function openOwn(own: OwnRegistry, request: UpstreamRequest): Promise<IncomingMessage> {
  if (READS.includes(request.method)) return openRead(own, request)
  // The data of an upload in pieces is nobody's until its PUT.
  if (request.method === 'PATCH') {
    return send(begin(own.socketPath, request, request.signal), request.body)
  }
  return openWrite(own, request)
}

function begin(
  socketPath: string,
  { method, path, headers }: UpstreamRequest,
  signal?: AbortSignal,
): ClientRequest {
  const aborted = signal ? { signal } : {}
  return http.request({
    socketPath,
    method,
    path,
    headers: { ...headers, host: 'registry' },
    ...aborted,
  })
}

async function openRead(own: OwnRegistry, request: UpstreamRequest): Promise<IncomingMessage> {
  for (let n = 0; n < READS_MAX; n += 1) {
    const reply = await send(begin(own.socketPath, request, request.signal), request.body)
    const digest = reply.headers['docker-content-digest']
    if (!FOUND.includes(reply.statusCode ?? 0)) return reply
    if (own.storage.sawAnswer(request.path, digest)) return reply
    reply.resume()
  }
  throw new Error(`${request.path} is there and not there`)
}

/** Once it can take effect it is not broken off: what the registry does with it would end unseen. */
async function openWrite(own: OwnRegistry, request: UpstreamRequest): Promise<IncomingMessage> {
  const { body, signal } = request
  signal.throwIfAborted()
  const visit = createVisit(own.gate, request)
  const isStreamed = request.method === 'PUT' && body !== undefined && !Buffer.isBuffer(body)
  if (!isStreamed) await visit.enter()
  const sent = begin(own.socketPath, request)
  let isAnswered = false
  const gone = new Promise<never>((_, reject) => {
    const onAbort = () => {
      if (visit.isInside() && !isAnswered) reject(signal.reason)
      else sent.destroy(signal.reason)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    sent.once('close', () => {
      signal.removeEventListener('abort', onAbort)
      visit.leave()
    })
    if (signal.aborted) onAbort()
  })
  sent.once('response', (reply) => {
    isAnswered = true
    visit.answered(reply)
    if (signal.aborted) reply.resume()
  })
  const through = isStreamed ? withLastPieceBehind(visit.enter) : undefined
  return Promise.race([send(sent, body, through), gone])
}

/** One stay of a writer behind the gate. */
function createVisit(gate: WriteGate, request: UpstreamRequest) {
  let out: (() => void) | undefined
  let isOver = false

  function leave(): void {
    isOver = true
    out?.()
    out = undefined
  }

  return {
    isInside: () => out !== undefined,
    async enter(): Promise<void> {
      const end = await gate.enter()
      if (isOver) return end()
      out = end
      for (const digest of linkedBy(request)) gate.noteLinked(digest)
    },
    answered(reply: IncomingMessage): void {
      const digest = reply.headers['docker-content-digest']
      if (typeof digest === 'string') gate.noteLinked(digest)
      leave()
    },
    leave,
  }
}

/** Of the digests those that the request may link in its repository. */
function linkedBy({ method, path, body }: UpstreamRequest): string[] {
  const [pathname = '', query] = path.split('?')
  const route = parseRoute(pathname)
  const params = new URLSearchParams(query)
  if (route?.kind === 'manifest') return Buffer.isBuffer(body) ? [digestOf(body)] : []
  const named = params.get(method === 'POST' ? 'mount' : 'digest') ?? ''
  return isDigest(named) ? [named] : []
}

/** Holds a body's last piece back until `enter()` lets it pass: until then nothing takes effect. */
function withLastPieceBehind(enter: () => Promise<void>): Transform {
  let held: Buffer | undefined
  return new Transform({
    transform(piece: Buffer, _encoding, done) {
      const before = held
      held = piece
      if (before) done(null, before)
      else done()
    },
    flush(done) {
      enter().then(() => done(null, held), done)
    },
  })
}
