// Real sockets end to end; 127.0.0.1 stands in for the internet, by EGRESS_ALLOW_ADDRESSES.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import { pino } from 'pino'
import { createEgressProxy, type EgressProxyOptions } from '../../../server/egress/proxy.ts'

const MiB = 1024 * 1024

async function listen(t: TestContext, server: Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** The proxy behind a listener like the runner's; returns its port. */
async function givenProxy(t: TestContext, overrides: Partial<EgressProxyOptions> = {}) {
  const proxy = createEgressProxy({
    allowAddresses: ['127.0.0.1'],
    log: pino({ level: 'silent' }),
    ...overrides,
  })
  t.after(() => proxy.close())
  const port = await listen(
    t,
    createServer((socket) => proxy.handle(socket)),
  )
  return { proxy, port }
}

function dialProxy(t: TestContext, port: number): Socket {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
  socket.on('error', () => {})
  t.after(() => socket.destroy())
  return socket
}

/** Sends CONNECT and reads the head of the answer; what follows it stays in the socket. */
async function tunnel(t: TestContext, proxyPort: number, authority: string) {
  const socket = dialProxy(t, proxyPort)
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n\r\n`)
  let head = ''
  while (!head.includes('\r\n\r\n')) {
    const byte = socket.read(1) as Buffer | null
    if (byte) head += byte.toString('latin1')
    else await once(socket, 'readable')
  }
  return { socket, status: Number(head.split(' ')[1]) }
}

function request(proxyPort: number, url: string, options: http.RequestOptions = {}) {
  const sent = http.request({
    host: '127.0.0.1',
    port: proxyPort,
    path: url,
    agent: false,
    ...options,
  })
  const replied = new Promise<IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve)
    sent.once('error', reject)
  })
  return { sent, replied }
}

async function get(proxyPort: number, url: string) {
  const { sent, replied } = request(proxyPort, url)
  sent.end()
  const reply = await replied
  return { status: reply.statusCode, body: await text(reply) }
}

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
  await until(() => heard === MiB, 'the rest')
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

test('what is not public is refused with 403 and a sentence, in both forms', async (t) => {
  const { port } = await givenProxy(t, { allowAddresses: [] })
  for (const host of [
    '127.0.0.1',
    'localhost',
    '169.254.169.254',
    '[::1]',
    '10.0.0.1',
    '0.0.0.0',
  ]) {
    const reply = await get(port, `http://${host}/`)
    assert.equal(reply.status, 403, host)
    assert.match(reply.body, /^refused: .+ is not a public address; builds reach/)
    const { status, socket } = await tunnel(t, port, `${host}:443`)
    assert.equal(status, 403, host)
    assert.match(await text(socket), /^refused: /)
  }
})

test('what is no proxy request is refused', async (t) => {
  const { port } = await givenProxy(t)
  for (const path of ['/', '/latest/meta-data', 'https://127.0.0.1/', 'ftp://127.0.0.1/']) {
    assert.equal((await get(port, path)).status, 403, path)
  }
  assert.equal((await tunnel(t, port, 'nonsense')).status, 403)
  const garbage = dialProxy(t, port)
  garbage.end('\x16\x03\x01 this is not HTTP')
  assert.match(await text(garbage), /^HTTP\/1.1 400 /)
})

test('a name is looked up once, and what was checked is what is dialled', async (t) => {
  const port = await listen(
    t,
    http.createServer((_req, res) => void res.end('the checked one')),
  )
  const answers = [['10.0.0.1', '127.0.0.1'], ['127.0.0.2']]
  const asked: string[] = []
  const resolve = async (host: string) => {
    asked.push(host)
    return answers[asked.length - 1] ?? assert.fail('looked up again')
  }
  const proxy = await givenProxy(t, { resolve })
  const url = `http://rebind.example:${port}/`
  assert.deepEqual(await get(proxy.port, url), { status: 200, body: 'the checked one' })
  assert.equal((await get(proxy.port, url)).status, 403)
  assert.deepEqual(asked, ['rebind.example', 'rebind.example'])
})

test('a redirect to a private address is refused where it is followed', async (t) => {
  const port = await listen(
    t,
    http.createServer((_req, res) => {
      res.writeHead(302, { location: 'http://169.254.169.254/' }).end()
    }),
  )
  const proxy = await givenProxy(t)
  const { sent, replied } = request(proxy.port, `http://127.0.0.1:${port}/`)
  sent.end()
  const { headers, statusCode } = await replied
  assert.equal(statusCode, 302)
  assert.equal((await get(proxy.port, headers.location ?? '')).status, 403)
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

test('a server that is not there, breaks off or has no name is a 502', async (t) => {
  const closed = createServer()
  const port = await listen(t, closed)
  closed.close()
  const proxy = await givenProxy(t)
  assert.equal((await get(proxy.port, `http://127.0.0.1:${port}/`)).status, 502)
  assert.equal((await tunnel(t, proxy.port, `127.0.0.1:${port}`)).status, 502)
  const rude = await listen(
    t,
    createServer((socket) => socket.destroy()),
  )
  assert.equal((await get(proxy.port, `http://127.0.0.1:${rude}/`)).status, 502)
  const nameless = await givenProxy(t, {
    resolve: async () => {
      throw new Error('getaddrinfo ENOTFOUND nowhere.example')
    },
  })
  const reply = await get(nameless.port, 'http://nowhere.example/')
  assert.equal(reply.status, 502)
  assert.match(reply.body, /ENOTFOUND nowhere.example/)
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
  await until(() => open === 2, 'both connections')
  socket.destroy()
  sent.destroy()
  await until(() => open === 0, 'both to end')
})

test('a tunnel in which nothing moves is ended', async (t) => {
  const port = await listen(
    t,
    createServer(() => {}),
  )
  const proxy = await givenProxy(t, { idleMaxMs: 50 })
  const { socket, status } = await tunnel(t, proxy.port, `127.0.0.1:${port}`)
  assert.equal(status, 200)
  assert.equal(await text(socket), '')
})

test('a guest that says nothing is hung up on', async (t) => {
  const proxy = await givenProxy(t, { idleMaxMs: 50 })
  const silent = dialProxy(t, proxy.port)
  await once(silent.resume(), 'end')
})

test('there is an end to the connections of guests', async (t) => {
  const proxy = await givenProxy(t, { connectionsMax: 2 })
  const first = [dialProxy(t, proxy.port), dialProxy(t, proxy.port)]
  await Promise.all(first.map((socket) => once(socket, 'connect')))
  const reply = await get(proxy.port, 'http://127.0.0.1/')
  assert.equal(reply.status, 503)
  for (const socket of first) socket.destroy()
  await until(async () => (await get(proxy.port, 'http://127.0.0.1:1/')).status === 502, 'room')
})

test('close() ends every connection on both sides', async (t) => {
  const ended: Promise<unknown>[] = []
  const port = await listen(
    t,
    createServer((socket) => void ended.push(once(socket.resume(), 'close'))),
  )
  const { proxy, port: proxyPort } = await givenProxy(t)
  const { socket } = await tunnel(t, proxyPort, `127.0.0.1:${port}`)
  proxy.close()
  await once(socket.resume(), 'end')
  assert.equal(ended.length, 1)
  await Promise.all(ended)
})

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 5_000
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `waited for: ${what}`)
    await sleep(5)
  }
}
