// When BuildKit's daemon counts as ready: not when its socket is there, but when it serves.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer as createHttp2 } from 'node:http2'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { callServer } from '../../../agent/buildkitd.ts'

async function given(t: TestContext, server?: Server): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'hm-daemon-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 's')
  if (server) {
    server.listen(path)
    await once(server, 'listening')
    t.after(() => server.close())
  }
  return path
}

async function until(call: ReturnType<typeof callServer>, state: string): Promise<void> {
  while (call.state() !== state) await new Promise(setImmediate)
  call.end()
}

test('a daemon that serves is ready', async (t) => {
  await until(callServer(await given(t, createHttp2())), 'serves')
})

test('a daemon that only takes connections, as while it opens its state, is not ready', async (t) => {
  const server = createServer((socket) => socket.on('error', () => {}).resume())
  const path = await given(t, server)
  const call = callServer(path)
  const [socket] = await once(server, 'connection')
  await once(socket, 'data')
  await new Promise(setImmediate)
  assert.equal(call.state(), 'waits')
  // It ends over what it has found there.
  socket.destroy()
  await until(call, 'refused')
})

test('no daemon is not ready', async (t) => {
  await until(callServer(await given(t)), 'refused')
})
