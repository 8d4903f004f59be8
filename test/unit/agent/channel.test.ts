import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ChannelOptions, openChannel } from '../../../agent/channel.ts'
import { CALLERS_MAX, OUTBOX_BYTES_MAX } from '../../../agent/limits.ts'
import {
  type AgentMessage,
  type BuildResult,
  type HostMessage,
  MESSAGE_BYTES_MAX,
} from '../../../agent/protocol.ts'

const GREETING: AgentMessage = { type: 'hello', protocol: 1, job_id: 'b1', boot_ms: 1 }
const KEY = 'the-key-of-this-build'
const RESULT: BuildResult = {
  success: true,
  provenance: { source_hash: 'x', buildkit_version: 'v0', timestamp: 't' },
  duration_ms: 1,
}

async function givenChannel(t: TestContext, more: Partial<ChannelOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'channel-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'agent.sock')
  const cancels: string[] = []
  const channel = await openChannel({
    path,
    greeting: GREETING,
    key: KEY,
    onCancel: (reason) => cancels.push(reason),
    hostAbsenceMaxMs: 20,
    ...more,
  })
  const dial = async (): Promise<Socket> => {
    const socket = connect(path)
    t.after(() => socket.destroy())
    socket.on('error', () => {})
    await once(socket, 'connect')
    return socket
  }
  const dialAsHost = async (after = 0): Promise<Socket> => {
    const socket = await dial()
    say(socket, ready({ after }))
    await channel.connected
    return socket
  }
  return { path, channel, cancels, dial, dialAsHost }
}

function ready(more: Partial<HostMessage & { type: 'host_ready' }> = {}): HostMessage {
  return { type: 'host_ready', protocol: 1, key: KEY, after: 0, ...more }
}

function say(socket: Socket, message: HostMessage): void {
  socket.write(`${JSON.stringify(message)}\n`)
}

/** Not events.once: a reset is an end like any other. */
async function ended(socket: Socket): Promise<void> {
  if (socket.closed) return
  await new Promise((resolve) => socket.once('close', resolve).resume())
}

/** The next messages of a connection. */
function reader(socket: Socket): (count: number) => Promise<unknown[]> {
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]()
  return async (count) => {
    const messages: unknown[] = []
    while (messages.length < count) messages.push(JSON.parse((await lines.next()).value as string))
    return messages
  }
}

test('only a caller with the key of the build becomes the host', async (t) => {
  const { path, channel, cancels, dial } = await givenChannel(t)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  await channel.send({ type: 'log', log: 'private' })
  for (const key of ['', 'the-key-of-this-builD', `${KEY}x`]) {
    const step = await dial()
    const heard: Buffer[] = []
    step.on('data', (chunk) => heard.push(chunk))
    say(step, ready({ key }))
    say(step, { type: 'cancel', reason: 'evil' })
    await ended(step)
    assert.deepEqual(JSON.parse(Buffer.concat(heard).toString()), GREETING)
  }
  const rude = await dial()
  say(rude, { type: 'cancel', reason: 'evil' })
  await ended(rude)
  assert.deepEqual(cancels, [])
})

test('callers without the key can neither take the place of the host nor fill the agent', async (t) => {
  const { dial, dialAsHost } = await givenChannel(t)
  const host = await dialAsHost()
  const read = reader(host)
  const idle = await Promise.all(Array.from({ length: CALLERS_MAX + 1 }, dial))
  await ended(idle[0]!)
  const big = await dial()
  big.write('x'.repeat(100_000))
  await ended(big)
  say(host, { type: 'get_status' })
  assert.deepEqual(await read(2), [GREETING, { type: 'status', status: 'preparing', last: 0 }])
})

test('a dial that was given up half way does not count', async (t) => {
  const { channel, dial, dialAsHost } = await givenChannel(t)
  const first = await dial()
  const [greeting] = await once(first, 'data')
  assert.deepEqual(JSON.parse(String(greeting)), GREETING)
  first.destroy()
  const host = await dialAsHost()
  const read = reader(host)
  await channel.send({ type: 'log', log: 'x' })
  assert.deepEqual(await read(2), [GREETING, { seq: 1, type: 'log', log: 'x' }])
})

test('what is told before the host comes is waiting for it, in order and numbered', async (t) => {
  const { channel, dialAsHost } = await givenChannel(t)
  await channel.send({ type: 'status', status: 'preparing' })
  await channel.send({ type: 'log', log: 'one\ntwo \u0000' })
  const read = reader(await dialAsHost())
  assert.deepEqual(await read(3), [
    GREETING,
    { seq: 1, type: 'status', status: 'preparing' },
    { seq: 2, type: 'log', log: 'one\ntwo \u0000' },
  ])
})

test('a host that comes again gets what it has not had, and its earlier connection ends', async (t) => {
  const { channel, dialAsHost } = await givenChannel(t)
  const first = await dialAsHost()
  for (const log of ['a', 'b', 'c']) await channel.send({ type: 'log', log })
  await reader(first)(4)
  const read = reader(await dialAsHost(2))
  await ended(first)
  await channel.send({ type: 'log', log: 'd' })
  assert.deepEqual(await read(3), [
    GREETING,
    { seq: 3, type: 'log', log: 'c' },
    { seq: 4, type: 'log', log: 'd' },
  ])
})

test('a host that wants what was acknowledged before, or never told, hears why not', async (t) => {
  const { channel, dialAsHost, dial } = await givenChannel(t)
  const host = await dialAsHost()
  await channel.send({ type: 'log', log: 'a' })
  await reader(host)(2)
  say(host, { type: 'ack', seq: 1 })
  await channel.finish().catch(() => {})
  await ended(host)

  const other = await givenChannel(t)
  await other.channel.send({ type: 'log', log: 'a' })
  const late = await other.dial()
  say(late, ready({ after: 2 }))
  const [, refusal] = await reader(late)(2)
  assert.deepEqual(refusal, {
    type: 'error',
    error: 'the host wants what follows message 2, the agent has 1 to 1',
  })
  await assert.rejects(dial())
})

test('a host of another version of the protocol hears both versions', async (t) => {
  const { dial } = await givenChannel(t)
  const caller = await dial()
  say(caller, ready({ protocol: 2 }))
  const [, refusal] = await reader(caller)(2)
  assert.deepEqual(refusal, {
    type: 'error',
    error: 'this agent speaks version 1 of the protocol, not 2',
  })
})

test('messages of the host are understood however they are cut', async (t) => {
  const { cancels, dial } = await givenChannel(t)
  const host = await dial()
  const text = `${JSON.stringify(ready())}\n{"type":"cancel","reason":"ü"}\n`
  for (const byte of Buffer.from(text)) {
    host.write(Buffer.from([byte]))
    await sleep(1)
  }
  while (cancels.length === 0) await sleep(5)
  assert.deepEqual(cancels, ['ü'])
})

test('a host that acknowledges nothing makes the build wait instead of filling memory', async (t) => {
  const { channel, dialAsHost } = await givenChannel(t)
  const host = await dialAsHost()
  const read = reader(host)
  await read(1)
  const log = 'x'.repeat(60_000)
  const fits = Math.ceil(OUTBOX_BYTES_MAX / (log.length + 40))
  let sent = 0
  const flood = (async () => {
    while (sent < 3 * fits) {
      await channel.send({ type: 'log', log })
      sent += 1
    }
  })()
  await read(fits)
  assert.ok(sent < fits + 1, `${sent} messages were taken although none was acknowledged`)
  for (let seq = fits; sent < 3 * fits; seq += 1) {
    say(host, { type: 'ack', seq })
    if (seq < 3 * fits) await read(1)
  }
  await flood
})

test('the result can be had again until it is acknowledged, and only then the agent ends', async (t) => {
  const { channel, dialAsHost } = await givenChannel(t)
  const host = await dialAsHost()
  const read = reader(host)
  await channel.send({ type: 'log', log: 'last words' })
  await channel.send({ type: 'result', result: RESULT })
  let isFinished = false
  const finished = channel.finish().then(() => {
    isFinished = true
  })
  const told = (await read(3)).slice(1)
  say(host, { type: 'get_result' })
  assert.deepEqual(await read(2), told)
  say(host, { type: 'get_status' })
  assert.deepEqual(await read(1), [{ type: 'status', status: 'completed', last: 2 }])
  assert.equal(isFinished, false)
  say(host, { type: 'ack', seq: 2 })
  await finished
})

test('a message over the cap is refused by the sender and ends the connection of a host that sends it', async (t) => {
  const { channel, dialAsHost } = await givenChannel(t)
  const host = await dialAsHost()
  await assert.rejects(channel.send({ type: 'log', log: 'x'.repeat(MESSAGE_BYTES_MAX) }))
  host.write('x'.repeat(MESSAGE_BYTES_MAX + 10))
  await channel.closed
})

test('a host that acknowledges what it was not sent is hung up on', async (t) => {
  const { dialAsHost } = await givenChannel(t)
  const host = await dialAsHost()
  say(host, { type: 'ack', seq: 1 })
  await ended(host)
})

test('the agent knows when the host stays away, and telling then does no harm', async (t) => {
  const { channel, dialAsHost } = await givenChannel(t)
  const host = await dialAsHost()
  await channel.send({ type: 'log', log: 'x' })
  host.destroy()
  await channel.closed
  await channel.send({ type: 'log', log: 'x' })
  channel.heartbeat()
  await channel.finish()
})
