import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { Duplex } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { setImmediate as tick } from 'node:timers/promises'
import fc from 'fast-check'
import type { AgentMessage, BuildResult, EventMessage } from '../../../agent/protocol.ts'
import type { NewEvent } from '../../../server/builds/event-store.ts'
import { type ConversationOptions, converse } from '../../../server/pipeline/conversation.ts'
import { BuildFailure } from '../../../server/pipeline/failure.ts'
import {
  type AgentLine,
  agentLine,
  CHANNEL_KEY,
  givenAgentLine,
} from '../../helpers/agent-channel.ts'

const RESULT: BuildResult = {
  success: true,
  image_digest: `sha256:${'a'.repeat(64)}`,
  provenance: { source_hash: 'x', buildkit_version: 'v0', timestamp: 't' },
  duration_ms: 1,
}
const HELLO: AgentMessage = { type: 'hello', protocol: 1, job_id: 'build00001', boot_ms: 1 }

interface Heard {
  lines: string[]
  hellos: number
  pushings: number
  reconnects: number
}

function host(
  dial: ConversationOptions['dial'],
  more: Partial<ConversationOptions> & { onLine?: (count: number) => Promise<void> } = {},
) {
  const heard: Heard = { lines: [], hellos: 0, pushings: 0, reconnects: 0 }
  const result = converse({
    buildId: 'build00001',
    key: CHANNEL_KEY,
    dial,
    signal: new AbortController().signal,
    handlers: {
      onHello: async () => {
        heard.hellos += 1
      },
      onPushing: async () => {
        heard.pushings += 1
      },
      onEvent: async (event: NewEvent) => {
        if (event.type === 'log') heard.lines.push(event.line)
        await more.onLine?.(heard.lines.length)
      },
      onReconnect: () => {
        heard.reconnects += 1
      },
    },
    ...more,
  })
  return { heard, result }
}

/** What an agent does with its channel. */
async function tell(line: AgentLine, messages: readonly EventMessage[]): Promise<void> {
  for (const message of messages) await line.channel.send(message)
  await line.channel.send({ type: 'result', result: RESULT })
  await line.channel.finish()
}

function logs(texts: readonly string[]): EventMessage[] {
  return texts.map((log) => ({ type: 'log', log }))
}

/** An agent by hand, for what the real one never says. */
async function givenAgent(t: TestContext, onHost: (socket: Socket, dials: number) => void) {
  let dials = 0
  const server = createServer((socket) => {
    socket.on('error', () => {})
    t.after(() => socket.destroy())
    dials += 1
    onHost(socket, dials)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address() as { port: number }
  return async (signal: AbortSignal): Promise<Socket> => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    await once(socket, 'connect', { signal })
    return socket
  }
}

const say = (socket: Socket, ...messages: unknown[]) => {
  for (const message of messages) socket.write(`${JSON.stringify(message)}\n`)
}

async function failureOf(result: Promise<unknown>): Promise<BuildFailure> {
  const error = await result.then(
    () => assert.fail('the conversation came to a result'),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof BuildFailure, String(error))
  return error
}

test('wherever the channel breaks, every line comes once and in order, and the result comes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ maxLength: 300 }), { minLength: 1, maxLength: 40 }),
      fc.array(fc.integer({ min: 1, max: 4_000 }), { maxLength: 5 }),
      async (texts, cuts) => {
        const line = await agentLine(cuts)
        try {
          const { heard, result } = host(line.dial)
          const pushing: EventMessage = { type: 'status', status: 'pushing' }
          const [got] = await Promise.all([result, tell(line, [...logs(texts), pushing])])
          assert.deepEqual(got, RESULT)
          assert.deepEqual(heard.lines, texts)
          assert.equal(heard.hellos, 1)
          assert.equal(heard.pushings, 1)
        } finally {
          line.close()
        }
      },
    ),
    { numRuns: 25 },
  )
})

test('weakness 25: a log of megabytes over a breaking channel has no line twice and none missing', async (t) => {
  const line = await givenAgentLine(t, [300_000, 10, 700_000, 90, 1_500_000])
  const texts = Array.from({ length: 40_000 }, (_, n) => `${n} ${'x'.repeat(n % 97)}`)
  const { heard, result } = host(line.dial)
  await Promise.all([result, tell(line, logs(texts))])
  assert.deepEqual(heard.lines, texts)
  assert.ok(heard.reconnects >= 3, `${heard.reconnects} reconnects`)
})

test('weakness 29: from the first dial to the result nothing sleeps', async (t) => {
  const line = await givenAgentLine(t)
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { heard, result } = host(line.dial)
  await Promise.all([result, tell(line, logs(['x', 'y']))])
  assert.deepEqual(heard.lines, ['x', 'y'])
})

test('a result that was ready while the host was away is had after its return', async (t) => {
  const line = await givenAgentLine(t, [400])
  const { result } = host(line.dial)
  assert.deepEqual((await Promise.all([result, tell(line, logs(['x'.repeat(500)]))]))[0], RESULT)
  assert.equal(line.dials(), 2)
})

test('a slow host slows the build down and loses nothing', async (t) => {
  const line = await givenAgentLine(t)
  const texts = Array.from({ length: 100 }, (_, n) => `${n} ${'y'.repeat(60_000)}`)
  let open: () => void = () => {}
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  const { heard, result } = host(line.dial, { onLine: () => gate })
  let isTold = false
  const told = tell(line, logs(texts)).then(() => {
    isTold = true
  })
  while (heard.lines.length === 0) await tick()
  assert.equal(isTold, false)
  open()
  await Promise.all([result, told])
  assert.deepEqual(heard.lines, texts)
})

test('a host with another key gets nothing and gives up as infra', async (t) => {
  const line = await givenAgentLine(t)
  await line.channel.send({ type: 'log', log: 'private' })
  const times = { redialMaxMs: 100 }
  const { heard, result } = host(line.dial, { key: 'of another build', times })
  const failure = await failureOf(result)
  assert.equal(failure.failureClass, 'infra')
  assert.match(failure.message, /out of reach for 0\.1 s/)
  assert.deepEqual(heard.lines, [])
})

test('an agent that stays away for longer than the limit is given up', async (t) => {
  const line = await givenAgentLine(t, [300, ...Array.from({ length: 200 }, () => 1)])
  await line.channel.send({ type: 'log', log: 'x'.repeat(400) })
  const failure = await failureOf(host(line.dial, { times: { redialMaxMs: 100 } }).result)
  assert.match(failure.message, /out of reach/)
})

test('a dial that fails for good ends the conversation with its reason', async (t) => {
  const line = await givenAgentLine(t, [300])
  await line.channel.send({ type: 'log', log: 'x'.repeat(400) })
  let dials = 0
  const { result } = host((signal) => {
    dials += 1
    if (dials > 1) throw new Error('the VM ended')
    return line.dial(signal)
  })
  await assert.rejects(result, /the VM ended/)
})

test('an agent of another version of the protocol is named, with what to do', async (t) => {
  for (const hello of [
    { ...HELLO, protocol: 2 },
    { type: 'hello', job_id: 'b', boot_ms: 1 },
  ]) {
    const dial = await givenAgent(t, (socket) => say(socket, hello))
    const failure = await failureOf(host(dial).result)
    assert.equal(failure.failureClass, 'infra')
    assert.match(failure.message, /speaks version [02] .* server version 1: use a builder image/)
  }
})

test('an agent with another build, a gap, nonsense or an endless message is not believed', async (t) => {
  const bad: [unknown[] | string, RegExp][] = [
    [[{ ...HELLO, job_id: 'other' }], /says it has build other/],
    [[{ type: 'heartbeat' }], /began with heartbeat/],
    [[HELLO, { seq: 2, type: 'log', log: 'x' }], /message 2 followed message 0/],
    [[HELLO, { type: 'log', log: 'x' }], /malformed/],
    [[HELLO, { type: 'error', error: 'no' }], /refuses the server: no/],
    [`${JSON.stringify(HELLO)}\n${'x'.repeat(3_000_000)}`, /over 1048576 bytes/],
  ]
  for (const [messages, expected] of bad) {
    const dial = await givenAgent(t, (socket) => {
      if (typeof messages === 'string') socket.write(messages)
      else say(socket, ...messages)
    })
    const failure = await failureOf(host(dial).result)
    assert.equal(failure.failureClass, 'infra')
    assert.match(failure.message, expected)
  }
})

test('what a repeating agent sends twice counts once', async (t) => {
  const line = { seq: 1, type: 'log', log: 'once' }
  const dial = await givenAgent(t, (socket) =>
    say(socket, HELLO, line, line, { seq: 2, type: 'result', result: RESULT }),
  )
  const { heard, result } = host(dial)
  await result
  assert.deepEqual(heard.lines, ['once'])
})

test('a quiet agent is asked; one that has ended is asked for its result', async (t) => {
  const dial = await givenAgent(t, (socket) => {
    say(socket, HELLO)
    createInterface({ input: socket }).on('line', (text) => {
      const { type } = JSON.parse(text) as { type: string }
      if (type === 'get_status') say(socket, { type: 'status', status: 'completed', last: 1 })
      if (type === 'get_result') say(socket, { seq: 1, type: 'result', result: RESULT })
    })
  })
  assert.deepEqual(await host(dial, { times: { askAfterMs: 20 } }).result, RESULT)
})

test('an agent that says again and again that it has ended, and does not read, fills no memory', async () => {
  const done = JSON.stringify({ type: 'status', status: 'completed', last: 0 })
  const channel = new Duplex({ read() {}, write() {} })
  const { result } = host(async () => channel)
  channel.push(`${JSON.stringify(HELLO)}\n${`${done}\n`.repeat(20_000)}`)
  channel.push(`${JSON.stringify({ seq: 1, type: 'result', result: RESULT })}\n`)
  await result
  assert.ok(channel.writableLength < 2 * channel.writableHighWaterMark, `${channel.writableLength}`)
})

test('an agent that does not answer is dialled anew, and one that stays silent is given up', async (t) => {
  const woken = await givenAgent(t, (socket, dials) => {
    say(socket, HELLO)
    if (dials === 2) say(socket, { seq: 1, type: 'result', result: RESULT })
  })
  assert.deepEqual(await host(woken, { times: { redialAfterMs: 20 } }).result, RESULT)
  const mute = await givenAgent(t, (socket) => say(socket, HELLO))
  const times = { askAfterMs: 5, redialAfterMs: 20, silenceMaxMs: 400 }
  const failure = await failureOf(host(mute, { times }).result)
  assert.match(failure.message, /silent for 0\.4 s/)
})

test('a stop from outside ends the conversation with its reason, also between two connections', async (t) => {
  const line = await givenAgentLine(t, [150, ...Array.from({ length: 200 }, () => 1)])
  const stop = new AbortController()
  const { result } = host(line.dial, { signal: stop.signal })
  while (line.dials() < 2) await tick()
  stop.abort(new Error('cancel'))
  await assert.rejects(result, /cancel/)
})

test('a failure of the host itself is not mistaken for a broken channel', async (t) => {
  const line = await givenAgentLine(t)
  await line.channel.send({ type: 'log', log: 'x' })
  const { result } = host(line.dial, {
    onLine: async () => {
      throw new Error('no database')
    },
  })
  assert.match((await failureOf(result)).message, /could not be taken: Error: no database/)
  assert.equal(line.dials(), 1)
})
