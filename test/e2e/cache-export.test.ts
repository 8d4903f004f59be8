// A cache that can't be written, against a registry that does not play along: the agent's part of it.
import assert from 'node:assert/strict'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import {
  type AgentMessage,
  type BuildConfig,
  type HostMessage,
  REGISTRY_PORT,
} from '../../agent/protocol.ts'
import { givenRunner, podSpec, sourceTar } from '../helpers/pods.ts'
import { givenRegistry } from '../helpers/registry.ts'
import { givenFolder } from '../helpers/runner-behaviour.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'

type OnCache = (request: IncomingMessage, response: ServerResponse) => void

/** A registry as the guest reaches it; what is asked of a cache repository goes to `onCache`. */
async function givenService(t: TestContext, onCache: OnCache): Promise<(socket: Socket) => void> {
  const { child } = await givenRegistry(t)
  const server = http.createServer((request, response) => {
    const { method, url = '', headers } = request
    if (url.startsWith('/v2/cache/')) {
      onCache(request, response)
      return
    }
    const target = { socketPath: child.socketPath, method, path: url, headers }
    const forward = http.request(target, (reply) => {
      response.writeHead(reply.statusCode ?? 502, reply.headers)
      reply.pipe(response)
    })
    forward.on('error', () => response.destroy())
    request.pipe(forward)
  })
  t.after(() => server.closeAllConnections())
  return (socket) => void server.emit('connection', socket)
}

async function build(t: TestContext, onCache: OnCache): Promise<AgentMessage[]> {
  const { runner } = await givenRunner(t, await fastestRunner())
  const services = new Map([[REGISTRY_PORT, await givenService(t, onCache)]])
  const { config } = podSpec('hello', '')
  const cached: BuildConfig = {
    ...config,
    cache_imports: ['cache/acme/hello'],
    cache_export: 'cache/acme/hello',
    cache_export_seconds: 3,
  }
  const source = await sourceTar(await givenFolder(t), 'hello')
  const never = new AbortController().signal
  const pod = await runner.start(podSpec('hello', source, { services, config: cached }), never)
  const channel = await pod.connect(never)
  channel.on('error', () => {}) // the pod's end may come as a reset
  const messages: AgentMessage[] = []
  const tell = (message: HostMessage) => channel.write(`${JSON.stringify(message)}\n`)
  tell({ type: 'host_ready', protocol: 1, key: config.channel_key, after: 0 })
  for await (const line of createInterface({ input: channel })) {
    const message = JSON.parse(line) as AgentMessage
    messages.push(message)
    if ('seq' in message) tell({ type: 'ack', seq: message.seq })
    if (message.type === 'cache') break
  }
  await pod.stop()
  return messages
}

function check(messages: AgentMessage[], expected: RegExp): void {
  const result = messages.find((message) => message.type === 'result')
  assert.ok(result?.type === 'result')
  assert.equal(result.result.success, true, result.result.error)
  assert.deepEqual(result.result.cache, { imported: [] })
  const last = messages.at(-1)
  assert.ok(last?.type === 'cache' && !last.exported)
  const lines = messages.flatMap((message) => (message.type === 'log' ? [message.log] : []))
  assert.match(lines.at(-1) ?? '', expected)
}

test('a token that may not write the cache costs the cache, not the build', async (t) => {
  const messages = await build(t, (request, response) => {
    request.resume()
    const body = { errors: [{ code: 'DENIED', message: 'not for you' }] }
    response.writeHead(403, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
  check(
    messages,
    /^warning: the cache was not exported to cache\/acme\/hello: .*denied: not for you$/,
  )
})

test('a registry that hangs costs the deadline of the export, after the result', async (t) => {
  const messages = await build(t, (request, response) => {
    // Reading is answered at once; only writing hangs.
    if (request.method === 'GET' || request.url?.includes('/manifests/')) {
      response.writeHead(404).end()
    }
  })
  check(messages, /^warning: the cache was not exported to \S+: it took longer than 3 s$/)
})
