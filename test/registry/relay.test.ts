// The registry of a worker on another machine: the real proxy of a server, reached through the worker's relay.
import assert from 'node:assert/strict'
import http from 'node:http'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createRegistryRelay } from '../../server/registry/relay.ts'
import { silent } from '../helpers/database.ts'
import { bearer, givenProxy, givenRegistry, listen, tokens } from '../helpers/registry.ts'

const buildToken = () =>
  tokens.mintRegistry({
    buildId: 'acme1',
    tenant: 'acme',
    access: [{ repo: 'builds/acme1', scope: 'push' }],
    leaseHash: 'f00d',
    ttlSeconds: 60,
  })

async function relayTo(
  t: TestContext,
  url: string,
  more: { serverWaitMs?: number } = {},
): Promise<string> {
  const relay = createRegistryRelay({ url, log: silent, ...more })
  return listen(
    t,
    http.createServer((req, res) => void relay(req, res)),
  )
}

test('a guest pushes and pulls through the relay with its own token, and with no other repository', async (t) => {
  const { upstream } = await givenRegistry(t)
  const proxy = await givenProxy(t, upstream)
  const relay = await relayTo(t, proxy.url)
  const headers = bearer(await buildToken())
  const begun = await fetch(`${relay}/v2/builds/acme1/blobs/uploads/`, { method: 'POST', headers })
  assert.equal(begun.status, 202)
  const location = begun.headers.get('location') ?? ''
  assert.match(location, /^\/v2\/builds\/acme1\/blobs\/uploads\//)
  const bytes = Buffer.alloc(3_000_000, 'x')
  const digest = 'sha256:e55b8bdf621ddaa8f462c74745db9680d3bb7536a9cf854f8d6668b34a287890'
  const sent = await fetch(`${relay}${location}`, { method: 'PATCH', headers, body: bytes })
  assert.equal(sent.status, 202)
  const put = await fetch(`${relay}${sent.headers.get('location')}&digest=${digest}`, {
    method: 'PUT',
    headers,
  })
  assert.equal(put.status, 201, await put.text())
  const other = await fetch(`${relay}/v2/builds/other1/tags/list`, { headers })
  assert.equal(other.status, 401)
  const challenge = other.headers.get('www-authenticate') ?? ''
  assert.match(
    challenge,
    /^Bearer realm="http:\/\/localhost:5000\/v2\/token",service="hypeman",scope=/,
  )
})

test('the relay leads to nothing of the server but the registry’s API', async (t) => {
  const asked: string[] = []
  const server = http.createServer((req, res) => {
    asked.push(req.url ?? '')
    res.end('{}')
  })
  const relay = new URL(await relayTo(t, await listen(t, server)))
  const status = (path: string, method = 'GET') =>
    new Promise<number | undefined>((resolve, reject) => {
      const { hostname, port } = relay
      const sent = http.request({ hostname, port, path, method }, (reply) => {
        reply.resume()
        resolve(reply.statusCode)
      })
      sent.on('error', reject).end()
    })
  for (const path of [
    '/',
    '/apps',
    '/v2/../apps',
    '/v2/%2e%2e/worker/hello',
    '//apps',
    '/worker/hello',
  ]) {
    assert.equal(await status(path), 404, path)
    assert.equal(await status(path, 'POST'), 404, path)
  }
  assert.deepEqual(asked, [])
  assert.equal(await status('/v2/'), 200)
})

test('a server that stays away is a 503 for the guest, which tries again', async (t) => {
  const gone = http.createServer()
  const url = await listen(t, gone)
  await new Promise((resolve) => gone.close(resolve))
  const relay = await relayTo(t, url, { serverWaitMs: 50 })
  for (const init of [{}, { method: 'PATCH', body: 'some of a layer' }]) {
    const reply = await fetch(`${relay}/v2/builds/acme1/blobs/uploads/1`, init)
    assert.equal(reply.status, 503)
  }
})

test('a push that meets a server in its restart fails no more: it waits, and brings its body then', async (t) => {
  const got: string[] = []
  const server = http.createServer(async (req, res) => {
    let text = ''
    for await (const chunk of req) text += chunk
    got.push(`${req.method} ${text}`)
    res.end('{}')
  })
  const url = await listen(t, server)
  await new Promise((resolve) => server.close(resolve))
  const relay = await relayTo(t, url)
  const asked = [{}, { method: 'PATCH', body: 'some of a layer' }].map((init) =>
    fetch(`${relay}/v2/builds/acme1/blobs/uploads/1`, init),
  )
  await sleep(200)
  server.listen(Number(new URL(url).port), '127.0.0.1')
  for (const { status } of await Promise.all(asked)) assert.equal(status, 200)
  assert.deepEqual(got.sort(), ['GET ', 'PATCH some of a layer'])
})

test('a push waits for a database that restarts, and for one that stays away not forever', async (t) => {
  const { upstream } = await givenRegistry(t)
  let failures = 2
  const proxy = await givenProxy(t, upstream, {
    databaseWaitMs: 5_000,
    async runsUnder() {
      failures -= 1
      if (failures < 0) return true
      throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
    },
  })
  const headers = bearer(await buildToken())
  const begin = (url: string) =>
    fetch(`${url}/v2/builds/acme1/blobs/uploads/`, { method: 'POST', headers })
  assert.equal((await begin(proxy.url)).status, 202)
  assert.equal(failures, -1)
  const hasty = await givenProxy(t, upstream, {
    databaseWaitMs: 50,
    runsUnder: () => Promise.reject(Object.assign(new Error('gone'), { code: 'ECONNREFUSED' })),
  })
  assert.equal((await begin(hasty.url)).status, 503)
})
