// Bytes through the proxy: big, broken off, and while the registry is away.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import http from 'node:http'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import v8 from 'node:v8'
import vm from 'node:vm'
import { createTokens } from '../../server/auth/tokens.ts'
import { pushBlob } from '../helpers/oci.ts'
import {
  bearer,
  buildToken,
  givenProxy,
  givenRegistry,
  listen,
  operator,
} from '../helpers/registry.ts'
import { until } from '../helpers/until.ts'

const MiB = 1024 * 1024

// What is held is what remains after a collection; everything else is only not yet thrown away.
v8.setFlagsFromString('--expose-gc')
const collect = vm.runInNewContext('gc') as () => void

/** A stand-in for a registry where the real one can't be made to misbehave. */
async function givenUpstream(t: TestContext, handler: http.RequestListener) {
  const url = await listen(t, http.createServer(handler))
  return { kind: 'url' as const, url, username: undefined, password: undefined }
}

test('a 50 MB layer streams in and out without being held in memory', async (t) => {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const headers = bearer(await buildToken())
  const piece = Buffer.alloc(MiB, 'layer')
  const pieces = 50
  const hash = createHash('sha256')
  for (let n = 0; n < pieces; n += 1) hash.update(piece)
  const digest = `sha256:${hash.digest('hex')}`
  const before = process.memoryUsage().arrayBuffers
  const samples: number[] = []
  const watch = () => {
    collect()
    samples.push(process.memoryUsage().arrayBuffers - before)
  }
  // Memory comes back a little late; what is held on purpose is there in every sample of the second half.
  const held = () => Math.min(...samples.splice(0).slice(5)) / MiB

  const begun = await fetch(`${url}/v2/builds/acme1/blobs/uploads/`, { method: 'POST', headers })
  const body = Readable.from(
    (function* () {
      for (let n = 0; n < pieces; n += 1) {
        if (n % 5 === 0) watch()
        yield piece
      }
    })(),
  )
  const sent = http.request(new URL(begun.headers.get('location') ?? '', url), {
    method: 'PATCH',
    headers: { ...headers, 'content-type': 'application/octet-stream' },
  })
  body.pipe(sent)
  const patched = await new Promise<http.IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve)
    sent.once('error', reject)
  })
  patched.resume()
  assert.equal(patched.statusCode, 202)
  assert.ok(held() < 10, 'held while pushing')
  const end = new URL(patched.headers.location ?? '', url)
  end.searchParams.set('digest', digest)
  assert.equal((await fetch(end, { method: 'PUT', headers })).status, 201)

  const pulled = await fetch(`${url}/v2/builds/acme1/blobs/${digest}`, { headers })
  assert.equal(pulled.headers.get('content-length'), String(pieces * MiB))
  let received = 0
  const back = createHash('sha256')
  for await (const chunk of pulled.body ?? []) {
    if (received % (5 * MiB) < chunk.length) watch()
    received += chunk.length
    back.update(chunk)
  }
  assert.equal(`sha256:${back.digest('hex')}`, digest)
  assert.ok(held() < 10, 'held while pulling')
})

test('a range of a blob can be had', async (t) => {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const headers = bearer(await buildToken())
  const digest = await pushBlob({ url, repo: 'builds/acme1', headers }, Buffer.from('0123456789'))
  const reply = await fetch(`${url}/v2/builds/acme1/blobs/${digest}`, {
    headers: { ...headers, range: 'bytes=2-4' },
  })
  assert.equal(reply.status, 206)
  assert.equal(await reply.text(), '234')
})

test('while the registry is away there is a 503 in its own words; when it is back all works', async (t) => {
  const { child, upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const headers = bearer(await buildToken())
  const blob = Buffer.from('kept over the crash')
  const digest = await pushBlob({ url, repo: 'builds/acme1', headers }, blob)
  const get = () => fetch(`${url}/v2/builds/acme1/blobs/${digest}`, { headers })

  process.kill(child.pid() ?? assert.fail('no process'), 'SIGKILL')
  const down = await get()
  assert.equal(down.status, 503)
  assert.deepEqual(await down.json(), {
    errors: [{ code: 'UNAVAILABLE', message: 'the registry cannot be reached; try again' }],
  })

  await until('the registry to be back', async () => (await get()).status === 200)
  assert.equal(await (await get()).text(), blob.toString())
})

test('a client that goes away ends its request at the registry', async (t) => {
  let arrived = 0
  let ended = 0
  const upstream = await givenUpstream(t, (req, res) => {
    arrived += 1
    res.once('close', () => {
      ended += 1
    })
    if (req.method === 'GET') res.writeHead(200, { 'content-length': MiB }).write('the begin')
  })
  const { url } = await givenProxy(t, upstream)
  const authorization = `Bearer ${await buildToken()}`
  const path = `/v2/builds/acme1/blobs/sha256:${'a'.repeat(64)}`
  const { port } = new URL(url)

  const reader = connect(Number(port), '127.0.0.1')
  reader.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\n\r\n`)
  reader.once('data', () => reader.destroy())
  await until('the reading to end', () => arrived === 1 && ended === 1)

  const writer = connect(Number(port), '127.0.0.1')
  const head = `PATCH /v2/builds/acme1/blobs/uploads/x HTTP/1.1\r\nhost: x\r\ncontent-length: 100`
  writer.write(`${head}\r\nauthorization: ${authorization}\r\n\r\nonly a part`)
  await until('the writing to begin', () => arrived === 2)
  writer.destroy()
  await until('the writing to end', () => ended === 2)
})

test('an answer in the middle of an upload reaches the client, and costs it nothing else', async (t) => {
  const upstream = await givenUpstream(t, (req, res) => {
    const hangUp = () => setTimeout(() => req.socket.resetAndDestroy(), 10)
    res.writeHead(413, { 'content-length': 9 }).end('too large', hangUp)
  })
  const { url } = await givenProxy(t, upstream)
  const head = `authorization: Bearer ${await buildToken()}\r\nhost: x\r\n`
  const client = connect(Number(new URL(url).port), '127.0.0.1')
  t.after(() => client.destroy())
  let heard = ''
  client.setEncoding('utf8').on('data', (text) => {
    heard += text
  })
  const half = Buffer.alloc(64 * 1024)
  const patch = `PATCH /v2/builds/acme1/blobs/uploads/x HTTP/1.1\r\n${head}`
  client.write(`${patch}content-length: ${2 * half.length}\r\n\r\n`)
  client.write(half)
  await until('the answer', () => /^HTTP\/1.1 413 [\s\S]*too large/.test(heard))
  await sleep(50)
  client.write(half)
  client.write(`GET /v2/ HTTP/1.1\r\n${head}\r\n`)
  await until('the next answer', () => /too large[\s\S]*HTTP\/1.1 200 /.test(heard))
})

test('neither credentials nor forwarded addresses of a client get to the registry', async (t) => {
  const seen: http.IncomingMessage[] = []
  const upstream = await givenUpstream(t, (req, res) => {
    seen.push(req)
    res.writeHead(200, { 'set-cookie': 'a=b', 'x-secret': 'c', 'oci-subject': 'd', server: 'e' })
    res.end()
  })
  const { url } = await givenProxy(t, { ...upstream, username: 'us', password: 'pass:word' })
  const reply = await fetch(`${url}/v2/builds/acme1/tags/list?n=1`, {
    headers: {
      ...bearer(await buildToken()),
      'x-forwarded-for': '1.2.3.4',
      forwarded: 'for=1.2.3.4',
      'x-real-ip': '1.2.3.4',
      cookie: 'a=b',
    },
  })
  const { headers, url: path } = seen[0] ?? assert.fail('nothing arrived')
  assert.equal(path, '/v2/builds/acme1/tags/list?n=1')
  assert.equal(headers.authorization, `Basic ${Buffer.from('us:pass:word').toString('base64')}`)
  for (const name of ['x-forwarded-for', 'forwarded', 'x-real-ip', 'cookie']) {
    assert.equal(headers[name], undefined, name)
  }
  assert.deepEqual(
    ['set-cookie', 'x-secret', 'server', 'oci-subject'].map((name) => reply.headers.get(name)),
    [null, null, null, 'd'],
  )
})

test('a body where none belongs is not passed on', async (t) => {
  const seen: string[] = []
  const upstream = await givenUpstream(t, (req, res) => {
    seen.push(`${req.method} ${req.url}`)
    req.resume().once('end', () => res.end('x'))
  })
  const { url } = await givenProxy(t, upstream)
  const inner = 'GET /v2/builds/other1/tags/list HTTP/1.1\r\nhost: x\r\n\r\n'
  const sent = http.request(`${url}/v2/builds/acme1/tags/list`, {
    method: 'GET',
    headers: { ...bearer(await buildToken()), 'content-length': inner.length },
  })
  sent.end(inner)
  await new Promise((resolve) => sent.once('response', resolve))
  await sleep(50)
  assert.deepEqual(seen, ['GET /v2/builds/acme1/tags/list'])
})

test('a registry elsewhere may send readers to its storage, and keeps its own path and names', async (t) => {
  let storageSaw: http.IncomingHttpHeaders = {}
  const storage = await listen(
    t,
    http.createServer((req, res) => {
      storageSaw = req.headers
      res.end('the blob')
    }),
  )
  const upstream = await givenUpstream(t, (req, res) => {
    if (req.url?.includes('/blobs/sha256')) {
      res.writeHead(307, { location: `${storage}/signed?x=1` }).end()
    } else if (req.method === 'POST') {
      const location = `${upstream.url}/prefix/v2/builds/acme1/blobs/uploads/u?_state=s`
      res.writeHead(202, { location }).end()
    } else {
      const link = `<${upstream.url}/prefix/v2/builds/acme1/tags/list?last=a&n=1>; rel="next"`
      res.writeHead(200, { link }).end('{}')
    }
  })
  const elsewhere = { ...upstream, url: `${upstream.url}/prefix`, username: 'u', password: 'p' }
  const { url } = await givenProxy(t, elsewhere)
  const headers = bearer(await buildToken())
  const base = `${url}/v2/builds/acme1`

  const blob = await fetch(`${base}/blobs/sha256:${'a'.repeat(64)}`, {
    headers,
    redirect: 'manual',
  })
  assert.equal(await blob.text(), 'the blob')
  assert.equal(storageSaw.authorization, undefined)
  const begun = await fetch(`${base}/blobs/uploads/`, { method: 'POST', headers })
  assert.equal(begun.headers.get('location'), '/v2/builds/acme1/blobs/uploads/u?_state=s')
  const tags = await fetch(`${base}/tags/list?n=1`, { headers })
  const next = '</v2/builds/acme1/tags/list?last=a&n=1>; rel="next"'
  assert.equal(tags.headers.get('link'), next)
})

test('a registry that refuses our own credentials is unavailable, and asks the client for none', async (t) => {
  const upstream = await givenUpstream(t, (_req, res) => {
    res.writeHead(401, { 'www-authenticate': 'Basic realm="upstream"' }).end()
  })
  const { url } = await givenProxy(t, upstream)
  const reply = await fetch(`${url}/v2/library/x/tags/list`, { headers: bearer(await operator()) })
  assert.equal(reply.status, 503)
  assert.equal(reply.headers.get('www-authenticate'), null)
})

test('a revocation list that does not answer is no wrong token', async (t) => {
  const upstream = await givenUpstream(t, (_req, res) => void res.end())
  const down = createTokens({
    secret: 'a secret of at least thirty-two characters',
    isRevoked: async () => {
      throw new Error('no database')
    },
  })
  const { url } = await givenProxy(t, upstream, { tokens: down })
  const reply = await fetch(`${url}/v2/builds/acme1/tags/list`, {
    headers: bearer(await buildToken()),
  })
  assert.equal(reply.status, 503)
})
