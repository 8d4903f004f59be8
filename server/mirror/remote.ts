// Requests to one mirrored registry: with the token it asks for, along its redirects. Its credentials go to the
// registry itself and to where it says tokens are had, over TLS, and nowhere else.
import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { MIRROR_TOKEN_BYTES_MAX, MIRROR_TOKENS_MAX, REGISTRY_REDIRECTS_MAX } from '../limits.ts'
import { readReply } from './body.ts'
import type { Send } from './connect.ts'
import type { MirrorSource } from './sources.ts'

const TOKEN_SECONDS_DEFAULT = 60
/** A token is not used for its last seconds. */
const TOKEN_SECONDS_SPARED = 10

export interface RemoteRequest {
  method: 'GET' | 'HEAD'
  /** Repository, as the registry itself calls it. */
  name: string
  /** Below the repository: `manifests/latest`. */
  path: string
  accept?: string
  signal: AbortSignal
}

/** Resolves with whatever it answers; rejects when it does not. */
export type Remote = (request: RemoteRequest) => Promise<IncomingMessage>

const Token = z.object({
  token: z.string().optional(),
  access_token: z.string().optional(),
  expires_in: z.number().optional(),
})

interface Asked {
  reply: IncomingMessage
  /** From the registry itself, not from where it redirects to. */
  isHome: boolean
}

interface Known {
  authorization: string
  /** Of the monotonic clock. */
  until: number
}

export function createRemote(source: MirrorSource, send: Send): Remote {
  const known = new Map<string, Known>()
  const basic = source.credentials && `Basic ${Buffer.from(source.credentials).toString('base64')}`
  const isGiven = (url: URL) => source.isGiven && url.host === source.url.host

  function remembered(name: string): string | undefined {
    const found = known.get(name)
    if (found && found.until > performance.now()) return found.authorization
    known.delete(name)
    return undefined
  }

  async function ask(request: RemoteRequest, authorization?: string): Promise<Asked> {
    const { method, name, path, accept, signal } = request
    let url = new URL(`/v2/${name}/${path}`, source.url)
    for (let hops = 0; ; hops += 1) {
      const isHome = url.origin === source.url.origin
      const headers = {
        ...(accept ? { accept } : {}),
        ...(authorization && isHome ? { authorization } : {}),
      }
      const reply = await send(url, { method, headers, signal, isGiven: isGiven(url) })
      const { location } = reply.headers
      if (!isRedirect(reply) || location === undefined) return { reply, isHome }
      reply.destroy()
      if (hops >= REGISTRY_REDIRECTS_MAX) throw new Error(`${source.host} redirects too often`)
      const next = new URL(location, url)
      if (!isSafeAfter(url, next)) throw new Error(`${source.host} redirects away from TLS`)
      url = next
    }
  }

  /** What the challenge of a refusal asks for; undefined when there is nothing to give. */
  async function answer(challenge: string, request: RemoteRequest): Promise<string | undefined> {
    if (/^basic\b/i.test(challenge)) return basic
    if (!/^bearer\b/i.test(challenge)) return undefined
    const { realm = '', service } = parameters(challenge)
    if (!URL.canParse(realm)) return undefined
    const url = new URL(realm)
    if (!isSafeAfter(source.url, url)) throw new Error(`${source.host} gives tokens without TLS`)
    if (service !== undefined) url.searchParams.set('service', service)
    url.searchParams.set('scope', `repository:${request.name}:pull`)
    const headers: Record<string, string> = basic ? { authorization: basic } : {}
    const { signal } = request
    const reply = await send(url, { method: 'GET', headers, signal, isGiven: isGiven(url) })
    if (reply.statusCode !== 200) {
      reply.destroy()
      return undefined
    }
    const body = await readReply(reply, MIRROR_TOKEN_BYTES_MAX)
    const given = Token.parse(JSON.parse(body.toString('utf8')))
    const token = given.token ?? given.access_token
    if (token === undefined) return undefined
    const seconds = (given.expires_in ?? TOKEN_SECONDS_DEFAULT) - TOKEN_SECONDS_SPARED
    if (known.size >= MIRROR_TOKENS_MAX) known.clear()
    const authorization = `Bearer ${token}`
    known.set(request.name, { authorization, until: performance.now() + seconds * 1000 })
    return authorization
  }

  return async (request) => {
    const { reply, isHome } = await ask(request, remembered(request.name))
    const challenge = reply.headers['www-authenticate']
    // Where it was redirected to, nobody is told anything.
    if (!isHome || reply.statusCode !== 401 || challenge === undefined) return reply
    known.delete(request.name)
    const authorization = await answer(challenge, request)
    if (authorization === undefined) return reply
    reply.destroy()
    return (await ask(request, authorization)).reply
  }
}

function parameters(challenge: string): Record<string, string> {
  const found = challenge.matchAll(/([a-z_]+)="([^"]*)"/gi)
  return Object.fromEntries([...found].map(([, name = '', value = '']) => [name, value]))
}

function isRedirect({ statusCode = 0 }: IncomingMessage): boolean {
  return [301, 302, 303, 307, 308].includes(statusCode)
}

function isSafeAfter(from: URL, to: URL): boolean {
  return to.protocol === 'https:' || (from.protocol === 'http:' && to.protocol === 'http:')
}
