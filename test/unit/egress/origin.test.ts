// Who is behind a connection: found by the agent, told in one line, kept by the way out.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { pino } from 'pino'
import { inodeOf } from '../../../agent/connection-origin.ts'
import { openEgressDoor } from '../../../agent/egress-door.ts'
import type { EgressEvent } from '../../../server/egress/events.ts'
import { createEgressProxy } from '../../../server/egress/proxy.ts'
import { dialProxy, get, givenProxy, listen, request, tunnel } from '../../helpers/egress.ts'

/** A guest's door before the proxy, as the agent opens it where the host's socket is a file. */
async function givenDoor(t: TestContext) {
  const events: EgressEvent[] = []
  const proxy = createEgressProxy({
    allowAddresses: ['127.0.0.1'],
    log: pino({ level: 'silent' }),
    onEvent: (event) => events.push(event),
  })
  t.after(() => proxy.close())
  const folder = await mkdtemp(join(tmpdir(), 'hm-door-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const hostSocket = join(folder, 'host')
  const host = createServer((socket) => proxy.handle(socket)).listen(hostSocket)
  await once(host, 'listening')
  t.after(() => host.close())
  const free = createServer()
  const port = await listen(t, free)
  free.close()
  const door = await openEgressDoor({ port, folder, hostSocket })
  t.after(() => door.stop())
  return { port, door, proxy, events }
}

test('a connection is recorded with the program it comes from', async (t) => {
  const web = await listen(
    t,
    http.createServer(async (req, res) => void res.end(await text(req))),
  )
  const { port, door, proxy, events } = await givenDoor(t)
  const big = 'x'.repeat(3_000_000)
  const { sent, replied } = request(port, `http://127.0.0.1:${web}/`, { method: 'POST' })
  sent.end(big)
  assert.equal(await text(await replied), big)
  const { status, socket } = await tunnel(t, port, `127.0.0.1:${web}`)
  assert.equal(status, 200)
  socket.end('GET / HTTP/1.0\r\n\r\n')
  assert.match(await text(socket), /200 OK/)
  await get(port, 'http://10.0.0.1/')

  assert.deepEqual([door.named(), proxy.named()], [3, 3])
  for (const event of events) {
    assert.equal(event.origin?.process, process.execPath)
    assert.equal(event.origin.address, '127.0.0.1')
    assert.ok(event.origin.port > 1024)
  }
  assert.ok(events.some((event) => event.function === 'egress_refused'))
})

test('who comes without the agent is served and has no name', async (t) => {
  const events: EgressEvent[] = []
  const { port, proxy } = await givenProxy(t, { onEvent: (event) => events.push(event) })
  assert.equal((await get(port, 'http://10.0.0.1/')).status, 403)
  assert.equal(events[0]?.origin, undefined)
  assert.equal(proxy.named(), 0)
})

test('what is neither an origin nor a request is cut off', async (t) => {
  const { port, proxy } = await givenProxy(t)
  const line = JSON.stringify({ process: 'x'.repeat(2_000), address: '127.0.0.1', port: 1 })
  for (const said of ['{}\n', '{"process":', `{${'x'.repeat(5_000)}`, `${line}\n`]) {
    const socket = dialProxy(t, port)
    socket.end(said)
    assert.equal(await text(socket), '', said.slice(0, 20))
  }
  assert.equal(proxy.named(), 0)
})

test('an origin may come in pieces, and the request right behind it', async (t) => {
  const { port, proxy } = await givenProxy(t, { allowAddresses: [] })
  const socket = dialProxy(t, port)
  const told = `${JSON.stringify({ process: '/bin/a', address: '::1', port: 7 })}\nGET http://10.0.0.1/ HTTP/1.0\r\n\r\n`
  socket.write(told.slice(0, 9))
  await new Promise(setImmediate)
  socket.end(told.slice(9))
  assert.match(await text(socket), /^HTTP\/1.1 403 /)
  assert.equal(proxy.named(), 1)
})

test('a name that would forge lines or could not be stored is made harmless', async (t) => {
  const events: EgressEvent[] = []
  const { port } = await givenProxy(t, { onEvent: (event) => events.push(event) })
  const origin = { process: '/bin/a\u0000\n[OBSERVABILITY] \ud800', address: '127.0.0.1', port: 7 }
  const socket = dialProxy(t, port)
  socket.end(`${JSON.stringify(origin)}\nGET http://10.0.0.1/ HTTP/1.0\r\n\r\n`)
  assert.match(await text(socket), /^HTTP\/1.1 403 /)
  assert.equal(events[0]?.origin?.process, '/bin/a\ufffd\ufffd[OBSERVABILITY] \ufffd')
})

test('the inode of a connection is found by both of its ports', () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0C38 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0
   1: 0100007F:0C38 0100007F:A0B2 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0
   2: 0100007F:A0B2 0100007F:0C38 01 00000000:00000000 00:00000000 00000000     0        0 333 1 0
`
  assert.equal(inodeOf(table, 0xa0b2, 3128), '333')
  assert.equal(inodeOf(table, 0xa0b3, 3128), undefined)
})
