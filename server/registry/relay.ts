// The registry of a worker on another machine: carries the API's paths to the server's own /v2, streamed both
// ways, with the guest's token, which is authorised there.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { asError } from '../errors.ts'
import { REGISTRY_SERVER_WAIT_MS } from '../limits.ts'
import type { MirrorEvent } from '../mirror/mirror.ts'
import { NOTE_HEADER, readNote } from '../mirror/note-header.ts'
import type { Log } from '../telemetry/log.ts'
import { isUnconnected, untilThere } from './away.ts'
import { unlessGone } from './client-gone.ts'
import { parseRoute } from './names.ts'
import { replyOci } from './replies.ts'
import { openUpstream } from './upstream.ts'

/** Inside a guest the registry is called what its tunnel is called there. */
export const GUEST_REGISTRY_URL = 'http://localhost:5000'

export interface RegistryRelayOptions {
  /** Of the server. */
  url: string
  log: Log
  /** Told what a mirror of the server did for a build. */
  onMirrored?: (event: MirrorEvent) => void
  serverWaitMs?: number
}

const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'host',
  'expect',
])
const REALM = /realm="[^"]*\/v2\/token"/

export function createRegistryRelay({
  url,
  log,
  onMirrored,
  serverWaitMs = REGISTRY_SERVER_WAIT_MS,
}: RegistryRelayOptions) {
  const upstream = { kind: 'url', url, username: undefined, password: undefined } as const

  async function carry(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const method = req.method ?? 'GET'
    const hasBody = method === 'POST' || method === 'PUT' || method === 'PATCH'
    if (!hasBody) req.resume()
    await unlessGone(res, async (signal) => {
      const request = {
        method,
        path: req.url ?? '',
        headers: endToEnd(req.headers),
        body: hasBody ? req : undefined,
        signal,
      }
      // A body can be sent once only.
      const isAway = hasBody ? isUnconnected : () => true
      const reply = await untilThere(() => openUpstream(upstream, request), isAway, {
        waitMs: serverWaitMs,
        signal,
      })
      const { [NOTE_HEADER]: note, ...headers } = endToEnd(reply.headers)
      const event = readNote(note)
      if (event) onMirrored?.(event)
      const challenge = headers['www-authenticate']
      if (typeof challenge === 'string') {
        headers['www-authenticate'] = challenge.replace(
          REALM,
          `realm="${GUEST_REGISTRY_URL}/v2/token"`,
        )
      }
      res.writeHead(reply.statusCode ?? 502, headers)
      await pipeline(reply, res)
    })
  }

  return async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const [path = ''] = (req.url ?? '').split('?', 1)
    if (!parseRoute(path)) {
      req.resume()
      replyOci(res, 404, 'NAME_INVALID', 'that is no path of the registry API')
      return
    }
    try {
      await carry(req, res)
    } catch (error) {
      if (res.destroyed || res.writableEnded) return
      req.resume()
      log.warn({ err: asError(error).message, method: req.method, path }, 'server unavailable')
      replyOci(res, 503, 'UNAVAILABLE', 'the registry cannot be reached; try again')
    }
  }
}

function endToEnd(headers: IncomingMessage['headers']): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !HOP_BY_HOP.has(name)) kept[name] = value
  }
  return kept
}
