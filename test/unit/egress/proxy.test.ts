// Real sockets end to end; 127.0.0.1 stands in for the internet, by EGRESS_ALLOW_ADDRESSES.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { createServer, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import { get, givenProxy, listen, request, tunnel } from '../../helpers/egress.ts'
import { until } from '../../helpers/until.ts'

const MiB = 1024 * 1024

test('a plain request goes through, and connection headers stay behind', async (t) => {
  let seen: IncomingMessage | undefined
  const port = await listen(
    t,
    http.createServer((req, res) => {
      seen = req
      res.writeHead(201, { connection: 'close, x-mine', 'x-mine': '1', 'x-kept': '2' })
      res.end('hello')
    }),
  )
  const proxy = await givenProxy(t)
  const { sent, replied } = request(proxy.port, `http://127.0.0.1:${port}/a?b=c`, {
    headers: {
      host: 'elsewhere',
      'proxy-authorization': 'Basic x',
      'proxy-connection': 'keep-alive',
      connection: 'x-hop',
      'x-hop': '1',
      'x-kept': '2',
    },
  })
  sent.end()
  const reply = await replied
  assert.equal(reply.statusCode, 201)
  assert.equal(await text(reply), 'hello')
  assert.equal(seen?.url, '/a?b=c')
  assert.equal(seen?.headers.host, `127.0.0.1:${port}`)
  assert.equal(seen?.headers['x-kept'], '2')
  for (const name of ['proxy-authorization', 'proxy-connection', 'x-hop']) {
    assert.equal(seen?.headers[name], undefined, name)
  }
  assert.equal(reply.headers['x-kept'], '2')
  assert.equal(reply.headers['x-mine'], undefined)
})

test('big bodies go both ways in a plain request', async (t) => {
  const port = await listen(
    t,
    http.createServer((req, res) => void req.pipe(res)),
  )
  const proxy = await givenProxy(t)
  for (const method of ['POST', 'DELETE']) {
    const { sent, replied } = request(proxy.port, `http://127.0.0.1:${port}/`, {
      method,
      headers: { 'transfer-encoding': 'chunked' },
    })
    const sentHash = createHash('sha256')
    const gotHash = createHash('sha256')
    void (async () => {
      for (let n = 0; n < 20; n += 1) {
        const piece = randomBytes(MiB)
        sentHash.update(piece)
        if (!sent.write(piece)) await once(sent, 'drain')
      }
      sent.end()
    })()
    for await (const chunk of await replied) gotHash.update(chunk)
    assert.equal(gotHash.digest('hex'), sentHash.digest('hex'), method)
  }
})

test('TLS goes through a tunnel untouched', async (t) => {
  const psk = randomBytes(32)
  const ciphers = 'PSK+HIGH'
  const maxVersion = 'TLSv1.2' as const
  const server = tls.createServer({ pskCallback: () => psk, ciphers, maxVersion }, (socket) =>
    socket.end('over TLS'),
  )
  const port = await listen(t, server)
  const proxy = await givenProxy(t)
  const { socket, status } = await tunnel(t, proxy.port, `127.0.0.1:${port}`)
  assert.equal(status, 200)
  const secure = tls.connect({
    socket,
    ciphers,
    maxVersion,
    pskCallback: () => ({ psk, identity: 'guest' }),
    checkServerIdentity: () => undefined,
  })
  assert.equal(await text(secure), 'over TLS')
})

test('in a tunnel each side may end its direction first', async (t) => {
  const port = await listen(
    t,
    createServer({ allowHalfOpen: true }, (socket) => {
      let heard = 0
      socket.on('data', (chunk) => {
        heard += chunk.length
      })
      socket.once('end', () => socket.end(`heard ${heard}`))
    }),
  )
  const proxy = await givenProxy(t)
  const guestFirst = await tunnel(t, proxy.port, `127.0.0.1:${port}`)
  guestFirst.socket.end('x'.repeat(MiB))
  assert.equal(await text(guestFirst.socket), `heard ${MiB}`)

  let heard = 0
  const endsFirst = await listen(
    t,
    createServer({ allowHalfOpen: true }, (socket) => {
      socket.end('only this')
      socket.on('data', (chunk) => {
        heard += chunk.length
      })
    }),
  )
  const remoteFirst = await tunnel(t, proxy.port, `127.0.0.1:${endsFirst}`)
  let said = ''
  remoteFirst.socket.on('data', (chunk) => {
    said += chunk
  })
  await once(remoteFirst.socket, 'end')
  assert.equal(said, 'only this')
  remoteFirst.socket.end('x'.repeat(MiB))
  await until('the rest', () => heard === MiB)
})

test('50 MB go through a tunnel unharmed, also to a slow reader', async (t) => {
  const bytes = randomBytes(50 * MiB)
  const port = await listen(
    t,
    createServer((socket) => void socket.end(bytes)),
  )
  const proxy = await givenProxy(t)
  const { socket } = await tunnel(t, proxy.port, `127.0.0.1:${port}`)
  const hash = createHash('sha256')
  let chunks = 0
  for await (const chunk of socket) {
    hash.update(chunk)
    chunks += 1
    if (chunks % 100 === 0) await sleep(1)
  }
  assert.equal(hash.digest('hex'), createHash('sha256').update(bytes).digest('hex'))
})

test('the next address of a name is tried when one is dead', async (t) => {
  const port = await listen(
    t,
    http.createServer((_req, res) => void res.end('alive')),
  )
  const proxy = await givenProxy(t, {
    allowAddresses: ['127.0.0.1', '127.0.0.9'],
    resolve: async () => ['127.0.0.9', '127.0.0.1'],
  })
  assert.equal((await get(proxy.port, `http://two.example:${port}/`)).body, 'alive')
})

test('a reply that breaks off in the middle is not passed off as whole', async (t) => {
  const port = await listen(
    t,
    http.createServer((_req, res) => {
      res.writeHead(200, { 'content-length': 100 }).write('a part', () => res.destroy())
    }),
  )
  const proxy = await givenProxy(t)
  await assert.rejects(get(proxy.port, `http://127.0.0.1:${port}/`), { code: 'ECONNRESET' })
})

test('a guest that goes away ends its connections to the outside', async (t) => {
  let open = 0
  const port = await listen(
    t,
    http
      .createServer(() => {}) // never answers
      .on('connection', (socket: Socket) => {
        open += 1
        socket.once('close', () => {
          open -= 1
        })
      }),
  )
  const proxy = await givenProxy(t)
  const { socket } = await tunnel(t, proxy.port, `127.0.0.1:${port}`)
  const { sent, replied } = request(proxy.port, `http://127.0.0.1:${port}/`)
  replied.catch(() => {}) // ended below
  sent.end()
  await until('both connections', () => open === 2)
  socket.destroy()
  sent.destroy()
  await until('both to end', () => open === 0)
})
