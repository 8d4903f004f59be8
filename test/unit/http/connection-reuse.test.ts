// A connection that has many requests, each answered before its body was there.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'node:test'
import { createConnections } from '../../../server/http/connections.ts'

test('a connection on which early answers were given holds nothing of them when their bodies have come', async (t) => {
  const counts: number[] = []
  const sockets = new Set<Socket>()
  const server = createConnections((req, res) => {
    sockets.add(req.socket)
    counts.push(req.socket.listenerCount('close'))
    req.resume()
    res.end('no')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => {
    agent.destroy()
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as AddressInfo
  for (let i = 0; i < 8; i += 1) {
    const asking = request({ port, agent, method: 'POST', headers: { 'content-length': 4 } })
    const closed = once(asking, 'close')
    asking.write('ab')
    const [reply] = await once(asking, 'response')
    asking.end('cd')
    reply.resume()
    await closed
  }
  assert.equal(sockets.size, 1)
  assert.equal(counts.at(-1), counts[1], counts.join(' '))
})
