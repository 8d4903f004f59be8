// Out through a firm's own proxy: it is asked for the address that was checked.
import assert from 'node:assert/strict'
import http from 'node:http'
import { connect, createServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { outboundProxy } from '../../../server/egress/outbound.ts'
import { get, givenProxy, listen, tunnel } from '../../helpers/egress.ts'

const WORLD = '93.184.216.34'

/** Leads every CONNECT to one local port, and writes down what it was asked. */
async function givenFirm(t: TestContext, to: number, reply = '200 Go') {
  const asked: string[] = []
  const server = http.createServer()
  server.on('connect', (req, socket, head) => {
    asked.push(`${req.url} ${req.headers['proxy-authorization'] ?? ''}`.trim())
    const web = connect(to, '127.0.0.1')
    web.on('error', () => socket.destroy())
    socket.on('error', () => web.destroy())
    socket.write(`HTTP/1.1 ${reply}\r\nx: y\r\n\r\n`)
    web.write(head)
    socket.pipe(web).pipe(socket)
  })
  const port = await listen(t, server)
  const outbound = outboundProxy(`http://ada:p%40ss@127.0.0.1:${port}`)
  const resolve = async () => [WORLD]
  const proxy = await givenProxy(t, { outbound, resolve, ownAddresses: () => [] })
  return { port: proxy.port, asked }
}

test('a public host is reached through the firm’s proxy by its address', async (t) => {
  const web = await listen(
    t,
    http.createServer((req, res) => void res.end(`host ${req.headers.host}`)),
  )
  const { port, asked } = await givenFirm(t, web)
  const reply = await get(port, 'http://world.example/')
  assert.deepEqual(reply, { status: 200, body: 'host world.example' })
  const { socket, status } = await tunnel(t, port, 'world.example:80')
  assert.equal(status, 200)
  socket.end('GET / HTTP/1.0\r\nhost: w\r\n\r\n')
  assert.match(await text(socket), /host w$/)
  const basic = Buffer.from('ada:p@ss').toString('base64')
  assert.deepEqual(asked, Array(2).fill(`${WORLD}:80 Basic ${basic}`))
})

test('what may be reached although it is private is reached without it', async (t) => {
  const web = await listen(
    t,
    http.createServer((_req, res) => void res.end('mirror')),
  )
  const { port, asked } = await givenFirm(t, web)
  assert.equal((await get(port, `http://127.0.0.1:${web}/`)).body, 'mirror')
  assert.deepEqual(asked, [])
})

test('what is refused is not asked of the firm’s proxy, and its own refusal is a 502', async (t) => {
  const { port, asked } = await givenFirm(t, 1, '407 Who')
  assert.equal((await get(port, 'http://10.0.0.1/')).status, 403)
  assert.deepEqual(asked, [])
  const { status, body } = await get(port, 'http://world.example/')
  assert.equal(status, 502)
  assert.match(body, /the outbound proxy answered: HTTP\/1\.1 407 Who/)
})

test('words right behind the proxy’s answer are the server’s first', async (t) => {
  const firm = createServer((socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\n\r\nhello from the server'))
  })
  const outbound = outboundProxy(`http://127.0.0.1:${await listen(t, firm)}`)
  const { port } = await givenProxy(t, {
    outbound,
    resolve: async () => [WORLD],
    ownAddresses: () => [],
  })
  const { socket } = await tunnel(t, port, 'world.example:443')
  for await (const chunk of socket) {
    assert.equal(String(chunk), 'hello from the server')
    break
  }
})
