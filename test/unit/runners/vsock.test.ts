import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { dialGuest } from '../../../server/runners/vsock.ts'

const SOON = () => AbortSignal.timeout(60_000)

/** A vsock device that hears the request and then does what the test says. */
async function givenDevice(t: TestContext, answer: (socket: Socket) => void) {
  const folder = mkdtempSync(join(tmpdir(), 'vsock-'))
  const path = join(folder, 'vm')
  const requests: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
      if (!text.includes('\n') || requests.length === sockets.size) return
      requests.push(text)
      answer(socket)
    })
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return { path, requests, sockets }
}

async function readAll(socket: Socket): Promise<string> {
  let text = ''
  for await (const chunk of socket) text += chunk
  return text
}

test('the handshake takes exactly its own bytes, in one piece or byte by byte', async (t) => {
  for (const pause of [0, 2]) {
    const device = await givenDevice(t, async (socket) => {
      const text = 'OK 1073741824\n{"type":"hello"}\nOK 7\n'
      if (pause === 0) socket.write(text)
      for (const byte of pause === 0 ? [] : Buffer.from(text)) {
        socket.write(Buffer.from([byte]))
        await sleep(pause)
      }
      socket.end()
    })
    const socket = await dialGuest(device.path, 5001, SOON())
    assert.deepEqual(device.requests, ['CONNECT 5001\n'])
    assert.equal(await readAll(socket), '{"type":"hello"}\nOK 7\n')
  }
})

test('a connection nobody speaks on is not an answer', async (t) => {
  const device = await givenDevice(t, (socket) => socket.end('OK 5\n'))
  await assert.rejects(dialGuest(device.path, 5001, SOON()), /nobody listens/)
})

test('a port nobody listens on rejects', async (t) => {
  const device = await givenDevice(t, (socket) => socket.destroy())
  await assert.rejects(dialGuest(device.path, 5001, SOON()), /nobody listens/)
})

test('anything but OK and a number rejects, and so does an endless answer', async (t) => {
  for (const text of ['NO 5\n', 'OK five\n', 'OK 5 \n', `OK ${'1'.repeat(100)}`]) {
    const device = await givenDevice(t, (socket) => socket.write(text))
    await assert.rejects(dialGuest(device.path, 5001, SOON()), /unexpected answer/, text)
  }
})

test('a device that does not exist rejects', async () => {
  await assert.rejects(dialGuest('/nonexistent/vm', 5001, SOON()))
})

test('the signal ends an attempt and its connection', async (t) => {
  const device = await givenDevice(t, () => {})
  const abort = new AbortController()
  const dialling = dialGuest(device.path, 5001, abort.signal)
  while (device.requests.length === 0) await sleep(5)
  abort.abort(new Error('enough'))
  await assert.rejects(dialling, /enough/)
  const [socket] = device.sockets
  while (!socket?.destroyed && !socket?.readableEnded) await sleep(5)
})
