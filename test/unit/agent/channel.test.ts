import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openChannel } from '../../../agent/channel.ts'
import { type HostMessage, MESSAGE_BYTES_MAX } from '../../../agent/protocol.ts'

async function givenChannel(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'channel-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'agent.sock')
  const heard: HostMessage[] = []
  const channel = await openChannel({ path, onMessage: (message) => heard.push(message) })
  const dial = async (): Promise<Socket> => {
    const socket = connect(path)
    t.after(() => socket.destroy())
    socket.on('error', () => {})
    await once(socket, 'connect')
    return socket
  }
  return { path, channel, heard, dial }
}

test('only root can dial the agent, and only one connection is ever taken', async (t) => {
  const { path, channel, dial } = await givenChannel(t)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  await dial()
  await channel.connected
  await assert.rejects(async () => {
    const second = connect(path)
    t.after(() => second.destroy())
    await once(second, 'connect')
  })
})

test('what is sent before the host comes is waiting for it, in order', async (t) => {
  const { channel, dial } = await givenChannel(t)
  void channel.send({ type: 'hello', job_id: 'b1', boot_ms: 1 })
  void channel.send({ type: 'log', log: 'one\ntwo \u0000' })
  const host = await dial()
  const lines: unknown[] = []
  for await (const line of createInterface({ input: host })) {
    if (lines.push(JSON.parse(line)) === 2) break
  }
  assert.deepEqual(lines, [
    { type: 'hello', job_id: 'b1', boot_ms: 1 },
    { type: 'log', log: 'one\ntwo \u0000' },
  ])
})

test('messages of the host are understood however they are cut', async (t) => {
  const { heard, dial } = await givenChannel(t)
  const host = await dial()
  for (const byte of Buffer.from('{"type":"host_ready"}\n{"type":"cancel","reason":"ü"}\n')) {
    host.write(Buffer.from([byte]))
    await sleep(1)
  }
  while (heard.length < 2) await sleep(5)
  assert.deepEqual(heard, [{ type: 'host_ready' }, { type: 'cancel', reason: 'ü' }])
})

test('a host that reads slowly slows the agent down instead of filling its memory', async (t) => {
  const { channel, dial } = await givenChannel(t)
  const host = await dial()
  await channel.connected
  host.pause()
  const log = 'x'.repeat(60_000)
  let sent = 0
  const flood = (async () => {
    while (sent < 200) {
      await channel.send({ type: 'log', log })
      sent += 1
    }
  })()
  await sleep(300)
  assert.ok(sent < 50, `${sent} messages were taken although nobody read`)
  host.resume()
  await flood
  assert.equal(sent, 200)
})

test('the result reaches the host before the agent ends', async (t) => {
  const { channel, dial } = await givenChannel(t)
  const host = await dial()
  let bytes = 0
  host.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (chunk.at(-1) === 10) host.end()
  })
  await channel.send({ type: 'log', log: 'y'.repeat(500_000) })
  await channel.finish()
  assert.ok(bytes > 500_000)
})

test('a message over the cap is refused by the sender and ends the connection of a host that sends it', async (t) => {
  const { channel, dial } = await givenChannel(t)
  const host = await dial()
  await channel.connected
  await assert.rejects(channel.send({ type: 'log', log: 'x'.repeat(MESSAGE_BYTES_MAX) }))
  host.write('x'.repeat(MESSAGE_BYTES_MAX + 10))
  await channel.closed
})

test('the agent knows when the host is gone, and sending then does no harm', async (t) => {
  const { channel, dial } = await givenChannel(t)
  const host = await dial()
  await channel.connected
  host.destroy()
  await channel.closed
  await channel.send({ type: 'heartbeat' })
  await channel.finish()
})
