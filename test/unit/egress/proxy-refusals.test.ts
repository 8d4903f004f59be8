// What the way out does not do, and how it ends.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { createServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { pino } from 'pino'
import type { EgressEvent } from '../../../server/egress/events.ts'
import { createEgressProxy } from '../../../server/egress/proxy.ts'
import { dialProxy, get, givenProxy, listen, request, tunnel } from '../../helpers/egress.ts'
import { until } from '../../helpers/until.ts'

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

test('a guest that was refused can’t keep the connection', async (t) => {
  const closed: Promise<unknown>[] = []
  const proxy = createEgressProxy({ allowAddresses: [], log: pino({ level: 'silent' }) })
  t.after(() => proxy.close())
  const port = await listen(
    t,
    createServer((socket) => {
      closed.push(once(socket, 'close'))
      proxy.handle(socket)
    }),
  )
  const { status } = await tunnel(t, port, '10.0.0.1:443') // and does not end its own side
  assert.equal(status, 403)
  await Promise.all(closed)
})

test('the log names hosts, not the rest of a URL', async (t) => {
  const lines: string[] = []
  const log = pino({}, { write: (line: string) => void lines.push(line) })
  const { port } = await givenProxy(t, { log, allowAddresses: [] })
  for (const url of ['http://u:secret@10.0.0.1/?t=secret', 'https://u:secret@a.example/secret']) {
    assert.equal((await get(port, url)).status, 403)
  }
  assert.equal(lines.length, 2)
  assert.match(lines[0] ?? '', /"host":"10.0.0.1","port":80,"status":403/)
  assert.doesNotMatch(lines.join(''), /secret/)
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
  await until('room', async () => (await get(proxy.port, 'http://127.0.0.1:1/')).status === 502)
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

test('each connection asked for is told with what became of it, and its end', async (t) => {
  const port = await listen(
    t,
    http.createServer((_req, res) => void res.end('here')),
  )
  const events: EgressEvent[] = []
  const proxy = await givenProxy(t, { onEvent: (event) => events.push(event) })
  const told = () => events.map((event) => event.function)
  await get(proxy.port, `http://127.0.0.1:${port}/`)
  await until('the end of the first', () => events.length === 2)
  await get(proxy.port, 'http://10.0.0.1/')
  await get(proxy.port, 'http://127.0.0.1:1/')
  assert.deepEqual(told(), ['tcp_connect', 'tcp_close', 'egress_refused', 'egress_failed'])
  const [made, ended, refused] = events
  assert.equal(made?.address, '127.0.0.1')
  assert.ok((ended?.sentBytes ?? 0) > 0 && (ended?.receivedBytes ?? 0) > 4)
  assert.match(refused?.reason ?? '', /^10\.0\.0\.1:80 is not a public address/)
})

test('a tunnel that is open when the build ends is told to have ended', async (t) => {
  const port = await listen(
    t,
    createServer((socket) => void socket.resume()),
  )
  const told: string[] = []
  const proxy = await givenProxy(t, { onEvent: (event) => told.push(event.function) })
  await tunnel(t, proxy.port, `127.0.0.1:${port}`)
  proxy.proxy.close()
  assert.deepEqual(told, ['tcp_connect', 'tcp_close'])
})

test('a build can’t ask for more connections than can be recorded', async (t) => {
  const port = await listen(
    t,
    http.createServer((_req, res) => void res.end('here')),
  )
  const told: string[] = []
  const onEvent = (event: EgressEvent) => void told.push(event.function)
  const proxy = await givenProxy(t, { attemptsMax: 2, onEvent })
  const url = `http://127.0.0.1:${port}/`
  assert.equal((await get(proxy.port, '/nonsense')).status, 403)
  assert.equal((await get(proxy.port, url)).status, 200)
  for (let n = 0; n < 3; n += 1) {
    const { status, body } = await get(proxy.port, url)
    assert.equal(status, 403)
    assert.match(body, /a build may ask for 2 connections, and has/)
  }
  await until('all of them', () => told.length === 4)
  const refused = told.filter((what) => what === 'egress_refused')
  assert.equal(refused.length, 2, 'nonsense, and the first one over the limit')
})
