// A registry out there: a real distribution behind a front with TLS and tokens, as the big ones have it, which can
// be made to misbehave. Its host name resolves to this machine in the tests that use it.
import { readFile } from 'node:fs/promises'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import type { TestContext } from 'node:test'
import { createSend } from '../../server/mirror/connect.ts'
import { createMirror, type MirrorEvent, type MirrorOptions } from '../../server/mirror/mirror.ts'
import type { MirrorSource } from '../../server/mirror/sources.ts'
import type { RepositoryUse } from '../../server/registry/repository-use.ts'
import { openUpstream, type RegistryUpstream } from '../../server/registry/upstream.ts'
import { silent } from './database.ts'
import { givenCertificate } from './internet.ts'
import { givenProxy, givenRegistry, listen } from './registry.ts'

export const HUB = 'hub.test'
const TOKEN = 'given-by-the-hub'

export interface Hub {
  url: string
  certificate: string
  upstream: RegistryUpstream
  /** For pushing into it, past the front. */
  direct: string
  /** `GET /v2/…` and so on, in order; those for tokens as well. */
  requests: string[]
  /** Of the requests for tokens. */
  logins: (string | undefined)[]
  /** That were presented to it, right or wrong. */
  authorizations: string[]
  /** Answers instead of the registry when it returns true. */
  instead: ((req: IncomingMessage, res: ServerResponse) => boolean) | undefined
  count(pattern: RegExp): number
}

export async function givenHub(t: TestContext): Promise<Hub> {
  const { upstream } = await givenRegistry(t)
  const { certFile, keyFile } = await givenCertificate(t, HUB)
  const [cert, key] = [await readFile(certFile, 'utf8'), await readFile(keyFile, 'utf8')]
  const server = https.createServer({ cert, key }, (req, res) => {
    front(hub, req, res).catch(() => res.destroy()) // the test is over
  })
  const url = (await listen(t, server)).replace('http://127.0.0.1', `https://${HUB}`)
  const plain = http.createServer((req, res) => {
    carry(upstream, req, res).catch(() => res.destroy())
  })
  const hub: Hub = {
    url,
    certificate: cert,
    upstream,
    direct: await listen(t, plain),
    requests: [],
    logins: [],
    authorizations: [],
    instead: undefined,
    count: (pattern) => hub.requests.filter((line) => pattern.test(line)).length,
  }
  return hub
}

async function front(hub: Hub, req: IncomingMessage, res: ServerResponse): Promise<void> {
  hub.requests.push(`${req.method} ${req.url}`)
  const { authorization } = req.headers
  if (authorization !== undefined) hub.authorizations.push(authorization)
  if (req.url?.startsWith('/token')) {
    hub.logins.push(authorization)
    res.end(JSON.stringify({ token: TOKEN, expires_in: 300 }))
    return
  }
  if (authorization !== `Bearer ${TOKEN}`) {
    const challenge = `Bearer realm="${hub.url}/token",service="hub",scope="x"`
    res.writeHead(401, { 'www-authenticate': challenge }).end()
    return
  }
  if (!hub.instead?.(req, res)) await carry(hub.upstream, req, res)
}

async function carry(upstream: RegistryUpstream, req: IncomingMessage, res: ServerResponse) {
  const reply = await openUpstream(upstream, {
    method: req.method ?? 'GET',
    path: req.url ?? '',
    headers: req.headers,
    body: req.method === 'GET' || req.method === 'HEAD' ? undefined : req,
    signal: new AbortController().signal,
  })
  res.writeHead(reply.statusCode ?? 502, reply.headers)
  reply.pipe(res)
}

export interface HouseOptions {
  source?: Partial<MirrorSource>
  /** Where names lead. */
  addresses?: string[]
  allowAddresses?: string[]
  /** Certificates beside the hub's. */
  trusted?: string[]
  outboundUrl?: string
  tagTtlMs?: number
  use?: RepositoryUse
}

/** Our proxy with a mirror of the hub. */
export async function givenMirror(t: TestContext, hub: Hub, options: HouseOptions = {}) {
  const { dir, upstream } = await givenRegistry(t)
  const events: MirrorEvent[] = []
  const source: MirrorSource = {
    host: HUB,
    url: new URL(hub.url),
    isGiven: true,
    repositories: undefined,
    credentials: undefined,
    ...options.source,
  }
  const given: MirrorOptions = {
    upstream,
    sources: [source],
    send: createSend({
      resolve: async () => options.addresses ?? ['127.0.0.1'],
      allowAddresses: options.allowAddresses ?? [],
      ports: [80, 443],
      outboundUrl: options.outboundUrl,
      trusted: [hub.certificate, ...(options.trusted ?? [])],
    }),
    folder: `${dir}/mirror`,
    log: silent,
    onEvent: (event) => void events.push(event),
    tagTtlMs: options.tagTtlMs ?? 0,
  }
  const mirror = await createMirror(given)
  t.after(() => mirror.stop())
  const proxy = await givenProxy(t, upstream, {
    mirror,
    ...(options.use ? { use: options.use } : {}),
  })
  return { ...proxy, dir, upstream, events }
}
