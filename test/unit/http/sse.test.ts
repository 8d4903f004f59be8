// Streaming over real sockets: frames, heartbeats, readers that stop reading, readers that leave.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { publicRoute } from '../../../server/http/route.ts'
import {
  lastEventId,
  SSE_HEADERS,
  SSE_TYPE,
  type SseOptions,
  sse,
} from '../../../server/http/sse.ts'
import { givenHttp } from '../../helpers/http.ts'

// What is tested here hangs when it fails.
const LIMIT = { timeout: 180_000 }

type Source = (signal: AbortSignal) => AsyncIterable<{ id: number; data: object }>

function given(t: TestContext, source: Source, options: SseOptions = {}) {
  return givenHttp(t, () => [
    publicRoute({
      id: 'stream',
      method: 'get',
      path: '/stream',
      summary: 'Stream',
      tag: 'test',
      replies: { 200: { description: 'Frames', content: { [SSE_TYPE]: z.unknown() } } },
      handle: async ({ signal }) => ({
        status: 200,
        type: SSE_TYPE,
        headers: SSE_HEADERS,
        stream: sse(source(signal), options),
      }),
    }),
  ])
}

/** A raw client, because fetch() reads ahead. */
function rawClient(t: TestContext, url: string): Socket {
  const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1' })
  t.after(() => socket.destroy())
  socket.on('error', () => {}) // a reset is one of the ends under test
  socket.write('GET /stream HTTP/1.1\r\nHost: x\r\n\r\n')
  return socket
}

async function* until(signal: AbortSignal): AsyncGenerator<never> {
  await once(signal, 'abort')
  yield* []
}

test(
  'frames carry their number and one line of JSON, with the headers proxies need',
  LIMIT,
  async (t) => {
    const { call } = await given(t, async function* () {
      yield { id: 1, data: { type: 'log', content: 'a\nb\r\u2028 ü🦊' } }
      yield { id: 7, data: { type: 'status', status: 'ready' } }
    })
    const reply = await call('/stream')
    assert.equal(reply.headers.get('content-type'), 'text/event-stream')
    assert.equal(reply.headers.get('cache-control'), 'no-cache')
    assert.equal(reply.headers.get('connection'), 'keep-alive')
    assert.equal(reply.headers.get('x-accel-buffering'), 'no')
    const [one, two, end, ...rest] = (await reply.text()).split('\n\n')
    const [id, data] = one!.split('\n')
    assert.equal(id, 'id: 1')
    assert.equal(JSON.parse(data!.slice('data: '.length)).content, 'a\nb\r\u2028 ü🦊')
    assert.equal(two, 'id: 7\ndata: {"type":"status","status":"ready"}')
    assert.equal(end, '')
    assert.deepEqual(rest, [])
  },
)

test('a character split across packets arrives whole, however long the line', LIMIT, async (t) => {
  const line = '€ü🦊'.repeat(40_000)
  const { call } = await given(t, async function* () {
    for (let id = 1; id <= 5; id += 1) yield { id, data: { content: line } }
  })
  const frames = (await (await call('/stream')).text()).split('\n\n').filter(Boolean)
  assert.equal(frames.length, 5)
  for (const frame of frames) {
    assert.equal(JSON.parse(frame.split('\ndata: ')[1]!).content, line)
  }
})

test(
  'the first bytes leave before the first event, and silence is filled with heartbeats without a number',
  LIMIT,
  async (t) => {
    const { call } = await given(t, until, { heartbeatMs: 30 })
    const abort = new AbortController()
    const reply = await call('/stream', { signal: abort.signal })
    assert.equal(reply.status, 200)
    const reader = reply.body!.getReader()
    let text = ''
    while (text.split('\n\n').length < 4)
      text += Buffer.from((await reader.read()).value!).toString()
    for (const frame of text.split('\n\n').slice(0, 3)) {
      const { type, timestamp } = JSON.parse(frame.slice('data: '.length))
      assert.equal(type, 'heartbeat')
      assert.ok(Math.abs(Date.parse(timestamp) - Date.now()) < 5000)
    }
    abort.abort()
  },
)

test(
  'a reader that stops reading costs bounded memory and is dropped; what fed it ends',
  LIMIT,
  async (t) => {
    let produced = 0
    let ended = false
    const frame = { content: 'x'.repeat(10_000) }
    const { http, url } = await given(
      t,
      async function* () {
        try {
          for (let id = 1; ; id += 1) {
            produced = id
            yield { id, data: frame }
          }
        } finally {
          ended = true
        }
      },
      { stallMs: 400, heartbeatMs: 20 },
    )
    let buffered = 0
    http.server.on('request', (_req, res) => {
      const look = setInterval(() => {
        buffered = Math.max(buffered, res.writableLength)
      }, 5)
      res.once('close', () => clearInterval(look))
    })
    const socket = rawClient(t, url)
    socket.pause()
    await sleep(300)
    const stuckAt = produced
    assert.equal(ended, false)
    await sleep(50)
    assert.equal(
      produced,
      stuckAt,
      'nothing is read from the source for a reader that does not read',
    )
    assert.ok(buffered < 100_000, `${buffered} bytes buffered`)
    for (let i = 0; i < 40 && !ended; i += 1) await sleep(50)
    assert.equal(ended, true)
    // Without the pause everything the kernel held arrives, then the cut: no clean end of the answer.
    let tail = ''
    socket.on('data', (chunk) => {
      tail = chunk.subarray(-5).toString()
    })
    socket.resume()
    await once(socket, 'close')
    assert.notEqual(tail, '0\r\n\r\n')
  },
)

test('a slow reader that keeps reading is not dropped', LIMIT, async (t) => {
  const { url } = await given(
    t,
    async function* () {
      for (let id = 1; id <= 300; id += 1) yield { id, data: { content: 'x'.repeat(50_000) } }
    },
    { stallMs: 500 },
  )
  const socket = rawClient(t, url)
  let bytes = 0
  let tail = ''
  socket.on('data', (chunk) => {
    bytes += chunk.length
    tail = chunk.subarray(-5).toString()
    if (bytes % 3 === 0) {
      socket.pause()
      setTimeout(() => socket.resume(), 10)
    }
    if (tail === '0\r\n\r\n') socket.end()
  })
  await once(socket, 'close')
  assert.equal(tail, '0\r\n\r\n')
  assert.ok(bytes > 300 * 50_000)
})

test(
  'a reader that has everything but does not take the end is dropped as well',
  LIMIT,
  async (t) => {
    const { http, url } = await given(
      t,
      async function* () {
        yield { id: 1, data: { content: 'x'.repeat(20_000_000) } }
      },
      { stallMs: 100 },
    )
    const closed = new Promise((resolve) => {
      http.server.on('request', (_req, res) => res.once('close', resolve))
    })
    rawClient(t, url).pause()
    await closed
  },
)

test('when the reader leaves, what feeds it ends at once', LIMIT, async (t) => {
  let ended: (value: unknown) => void = () => {}
  const end = new Promise((resolve) => {
    ended = resolve
  })
  const { url } = await given(t, async function* (signal) {
    try {
      yield { id: 1, data: {} }
      yield* until(signal)
    } finally {
      ended(undefined)
    }
  })
  const socket = rawClient(t, url)
  await once(socket, 'data')
  socket.destroy()
  await end
})

test('a source that fails cuts the connection instead of pretending an end', LIMIT, async (t) => {
  const { call } = await given(t, async function* () {
    yield { id: 1, data: {} }
    await sleep(50)
    throw new Error('the database went away')
  })
  const reply = await call('/stream')
  assert.equal(reply.status, 200)
  await assert.rejects(reply.text())
})

test('stopping the server ends open streams', LIMIT, async (t) => {
  const { http, call } = await given(t, until, { heartbeatMs: 10 })
  const reply = await call('/stream')
  const startedAt = Date.now()
  await http.stop()
  assert.ok(Date.now() - startedAt < 1000)
  await assert.rejects(reply.text())
})

test('HEAD gets the headers and no stream', LIMIT, async (t) => {
  const { call } = await given(t, until)
  const reply = await call('/stream', { method: 'HEAD' })
  assert.equal(reply.headers.get('content-type'), 'text/event-stream')
  assert.equal(await reply.text(), '')
})

test('Last-Event-ID is a number of an event or an error that names it', () => {
  assert.equal(lastEventId(''), 0)
  assert.equal(lastEventId('17'), 17)
  for (const bad of ['-1', '1.5', 'x', '99999999999999999999', ' 1']) {
    assert.throws(() => lastEventId(bad), { message: /^header last-event-id=".*": must be/ })
  }
})
