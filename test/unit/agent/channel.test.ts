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
import { type AgentMessage, type HostMessage, MESSAGE_BYTES_MAX } from '../../../agent/protocol.ts'

const GREETING: AgentMessage = { type: 'hello', job_id: 'b1', boot_ms: 1 }

async function givenChannel(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'channel-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'agent.sock')
  const heard: HostMessage[] = []
  const channel = await openChannel({
    path,
    greeting: GREETING,
    onMessage: (message) => heard.push(message),
  })
  const dial = async (): Promise<Socket> => {
    const socket = connect(path)
    t.after(() => socket.destroy())
    socket.on('error', () => {})
    await once(socket, 'connect')
    return socket
  }
  const dialAsHost = async (): Promise<Socket> => {
    const socket = await dial()
    socket.write('{"type":"host_ready"}\n')
    await channel.connected
    return socket
  }
  return { path, channel, heard, dial, dialAsHost }
}

test('only root can dial the agent, and once the host is there nobody else is taken', async (t) => {
  const { path, dial, dialAsHost } = await givenChannel(t)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  const other = await dial()
  await dialAsHost()
  await once(other.resume(), 'close')
  await assert.rejects(async () => {
    const late = connect(path)
    t.after(() => late.destroy())
    await once(late, 'connect')
  })
})

test('a dial that was given up half way does not count', async (t) => {
  const { channel, dial, dialAsHost } = await givenChannel(t)
  const first = await dial()
  const [greeting] = await once(first, 'data')
  assert.deepEqual(JSON.parse(String(greeting)), GREETING)
  first.destroy()
  await sleep(20)
  await dialAsHost()
  await channel.send({ type: 'heartbeat' })
})

test('what is sent before the host comes is waiting for it, in order', async (t) => {
  const { channel, dialAsHost } = await givenChannel(t)
  void channel.send({ type: 'status', status: 'preparing' })
  void channel.send({ type: 'log', log: 'one\ntwo \u0000' })
  const host = await dialAsHost()
  const lines: unknown[] = []
  for await (const line of createInterface({ input: host })) {
    if (lines.push(JSON.parse(line)) === 3) break
  }
  assert.deepEqual(lines, [
    GREETING,
    { type: 'status', status: 'preparing' },
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
  const { channel, dialAsHost } = await givenChannel(t)
  const host = await dialAsHost()
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
  const { channel, dialAsHost } = await givenChannel(t)
  const host = await dialAsHost()
  let bytes = 0
  host.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > 500_000 && chunk.at(-1) === 10) host.end()
  })
  await channel.send({ type: 'log', log: 'y'.repeat(500_000) })
  await channel.finish()
  assert.ok(bytes > 500_000)
})

test('a message over the cap is refused by the sender and ends the connection of a host that sends it', async (t) => {
  const { channel, dialAsHost } = await givenChannel(t)
  const host = await dialAsHost()
  await assert.rejects(channel.send({ type: 'log', log: 'x'.repeat(MESSAGE_BYTES_MAX) }))
  host.write('x'.repeat(MESSAGE_BYTES_MAX + 10))
  await channel.closed
})

test('the agent knows when the host is gone, and sending then does no harm', async (t) => {
  const { channel, dialAsHost } = await givenChannel(t)
  const host = await dialAsHost()
  host.destroy()
  await channel.closed
  await channel.send({ type: 'heartbeat' })
  await channel.finish()
})
