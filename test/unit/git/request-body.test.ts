// The body of a push as a stream of the client's making.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { readBody } from '../../../server/git/request-body.ts'
import { rawSocket } from '../../helpers/raw-socket.ts'

for (const [how, idleMaxMs, deadlineMs, why] of [
  ['sends nothing more', 200, 60_000, /broke off: the client sends nothing/],
  ['sends a byte now and then', 60_000, 600, /broke off: the client took too long/],
] as const) {
  test(`a client that ${how} is cut off, and nobody waits for the rest`, {
    timeout: 60_000,
  }, async (t) => {
    const server = createServer({ requestTimeout: 0 }).listen(0, '127.0.0.1')
    t.after(() => server.close())
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const asked = once(server, 'request') as Promise<[IncomingMessage]>
    const socket = await rawSocket(t, `http://127.0.0.1:${port}`)
    socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n0000')
    const trickle = idleMaxMs > deadlineMs ? setInterval(() => socket.write('x'), 50) : undefined
    const [req] = await asked
    const body = readBody(req, idleMaxMs, deadlineMs)
    await assert.rejects(body.take(100_000), why)
    clearInterval(trickle)
    assert.equal(await socket.closed, '')
  })
}
