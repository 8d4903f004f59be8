// The egress proxy behind a listener like the runner's, and guests that talk to it over real sockets.
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import { pino } from 'pino'
import { createEgressProxy, type EgressProxyOptions } from '../../server/egress/proxy.ts'

export async function listen(t: TestContext, server: Server): Promise<number> {
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
export async function givenProxy(t: TestContext, overrides: Partial<EgressProxyOptions> = {}) {
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

export function dialProxy(t: TestContext, port: number): Socket {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
  socket.on('error', () => {})
  t.after(() => socket.destroy())
  return socket
}

/** Sends CONNECT and reads the head of the answer; what follows it stays in the socket. */
export async function tunnel(t: TestContext, proxyPort: number, authority: string) {
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

export function request(proxyPort: number, url: string, options: http.RequestOptions = {}) {
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

export async function get(proxyPort: number, url: string) {
  const { sent, replied } = request(proxyPort, url)
  sent.end()
  const reply = await replied
  return { status: reply.statusCode, body: await text(reply) }
}
