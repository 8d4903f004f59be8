// Raw bytes against the HTTP face: slow, broken, too much, half closed, gone. Each is bounded, is told why where it
// still can be, and leaves nothing behind.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { publicRoute, route } from '../../../server/http/route.ts'
import { SSE_TYPE, sse } from '../../../server/http/sse.ts'
import { givenHttp } from '../../helpers/http.ts'
import { rawSocket } from '../../helpers/raw-socket.ts'

/** An end for what hangs. */
const LIMIT = { timeout: 60_000 }
const HEADERS_BYTES = 16 * 1024

/** How many handlers and streams of the server are at work. */
const atWork = { count: 0 }

async function* ticks(): AsyncGenerator<{ data: object }> {
  atWork.count += 1
  try {
    for (;;) {
      yield { data: { tick: true } }
      await sleep(20)
    }
  } finally {
    atWork.count -= 1
  }
}

const rows = () => [
  publicRoute({
    id: 'hello',
    method: 'get',
    path: '/hello',
    summary: 'Hello',
    tag: 'things',
    replies: { 200: { description: 'Hello', content: { 'text/plain': z.string() } } },
    handle: async () => ({ status: 200, text: 'hello', type: 'text/plain' }),
  }),
  publicRoute({
    id: 'wait',
    method: 'get',
    path: '/wait',
    errors: ['not_found'],
    summary: 'Wait until the client is gone',
    tag: 'things',
    replies: { 200: { description: 'Waited', content: { 'text/plain': z.string() } } },
    async handle({ signal }) {
      atWork.count += 1
      await new Promise((resolve) => {
        if (signal.aborted) resolve(undefined)
        signal.addEventListener('abort', resolve, { once: true })
      })
      atWork.count -= 1
      return { status: 200, text: 'waited', type: 'text/plain' }
    },
  }),
  publicRoute({
    id: 'follow',
    method: 'get',
    path: '/follow',
    summary: 'Events',
    tag: 'things',
    replies: { 200: { description: 'Events', content: { [SSE_TYPE]: z.string() } } },
    handle: async () => ({ status: 200, stream: sse(ticks()), type: SSE_TYPE }),
  }),
  route({
    id: 'send',
    method: 'post',
    path: '/send',
    errors: ['not_found'],
    summary: 'Send',
    tag: 'things',
    permission: 'app:write',
    body: z.object({}),
    replies: { 200: { description: 'Sent', content: { 'text/plain': z.string() } } },
    handle: async () => ({ status: 200, text: 'sent', type: 'text/plain' }),
  }),
]

async function given(t: TestContext, { leftoverLookMs = 200 } = {}) {
  const server = await givenHttp(t, rows, {
    connections: { headersDeadlineMs: 400, leftoverLookMs, lingerMs: 200 },
    jsonBody: { deadlineMs: 300 },
  })
  const connections = () =>
    new Promise<number>((resolve, reject) =>
      server.http.server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
    )
  return {
    ...server,
    connect: () => rawSocket(t, server.url),
    /** Everything that was begun has ended; the server still answers. */
    async leavesNothing() {
      while ((await connections()) > 0 || atWork.count > 0) await sleep(20)
      assert.equal(await (await server.call('/hello')).text(), 'hello')
    },
  }
}

function refusalIn(answer: string): { status: number; code: string; message: string } {
  const [head = '', body = ''] = answer.split('\r\n\r\n')
  const status = Number(/^HTTP\/1\.1 (\d+) /.exec(head)?.[1])
  assert.match(head, /content-type: application\/json/i, answer)
  return { status, ...JSON.parse(body) }
}

for (const [what, begin] of [
  ['nothing at all', ''],
  ['a request line that does not end', 'GET /hel'],
  ['headers that do not end', 'GET /hello HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n'],
] as const) {
  test(
    `who sends ${what} is told so after a while, however slowly more comes`,
    LIMIT,
    async (t) => {
      const { connect, leavesNothing } = await given(t)
      const socket = await connect()
      if (begin) socket.write(begin)
      const trickle = begin === '' ? undefined : setInterval(() => socket.write('x'), 50)
      const answer = await socket.closed
      clearInterval(trickle)
      const { status, code, message } = refusalIn(answer)
      assert.deepEqual([status, code], [408, 'request_timeout'])
      assert.match(message, /came within 400 ms/)
      await leavesNothing()
    },
  )
}

for (const [what, request] of [
  [
    'one long header',
    `GET /hello HTTP/1.1\r\nHost: x\r\nX-A: ${'x'.repeat(HEADERS_BYTES)}\r\n\r\n`,
  ],
  ['very many headers', `GET /hello HTTP/1.1\r\nHost: x\r\n${'a:b\r\n'.repeat(HEADERS_BYTES)}\r\n`],
  ['a long path', `GET /${'x'.repeat(HEADERS_BYTES)} HTTP/1.1\r\nHost: x\r\n\r\n`],
] as const) {
  test(`${what} is refused with the limit`, LIMIT, async (t) => {
    const { connect, leavesNothing } = await given(t)
    const socket = await connect()
    socket.write(request)
    const { status, code, message } = refusalIn(await socket.closed)
    assert.deepEqual([status, code], [431, 'headers_too_large'])
    assert.match(message, /larger than 16384 bytes/)
    await leavesNothing()
  })
}

test('no header is left out because there are many', LIMIT, async (t) => {
  const { connect, token } = await given(t)
  const socket = await connect()
  const many = 'a:b\r\n'.repeat(2_500)
  socket.write(
    `POST /send HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${many}Content-Type: application/json\r\nContent-Length: 2\r\nAuthorization: Bearer ${await token()}\r\n\r\n{}`,
  )
  assert.match(await socket.closed, /^HTTP\/1\.1 200 .*sent$/s)
})

for (const garbage of ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'hello there\r\n\r\n']) {
  test(
    `what is no HTTP is answered once and closed: ${JSON.stringify(garbage)}`,
    LIMIT,
    async (t) => {
      const { connect, leavesNothing } = await given(t)
      const socket = await connect()
      socket.write(Buffer.from(garbage, 'latin1'))
      socket.write('more of it')
      const { status, code, message } = refusalIn(await socket.closed)
      assert.deepEqual([status, code], [400, 'invalid_request'])
      assert.match(message, /no HTTP\/1\.1 request: \S/)
      await leavesNothing()
    },
  )
}

test('garbage behind a request does not get into the answer of that request', LIMIT, async (t) => {
  const { connect, leavesNothing } = await given(t)
  const streaming = await connect()
  streaming.write('GET /follow HTTP/1.1\r\nHost: x\r\n\r\n')
  while (!streaming.heard.includes('tick')) await sleep(10)
  streaming.write('\0\0garbage\r\n\r\n')
  const answer = await streaming.closed
  assert.doesNotMatch(answer, /invalid_request|HTTP\/1\.1 400/)
  const waiting = await connect()
  waiting.write('GET /wait HTTP/1.1\r\nHost: x\r\n\r\nGET /wait HTTP/1.1\r\nHost: x\r\n\r\n\0\0')
  assert.equal(await waiting.closed, '')
  await leavesNothing()
})

test('one connection gets no unbounded number of requests under way', LIMIT, async (t) => {
  const { connect, leavesNothing } = await given(t)
  const modest = await connect()
  modest.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(20))
  while (modest.heard.split('hello').length <= 20) await sleep(10)
  modest.shut()
  const greedy = await connect()
  greedy.write('GET /wait HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(500))
  assert.equal(await greedy.closed, '')
  await leavesNothing()
})

test('a stranger who is refused can not go on with his body for ever', LIMIT, async (t) => {
  const { connect, leavesNothing } = await given(t)
  const socket = await connect()
  socket.write(
    'POST /send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n',
  )
  const trickle = setInterval(() => socket.write('x'), 20)
  const answer = await socket.closed
  clearInterval(trickle)
  assert.match(answer, /^HTTP\/1\.1 401 /)
  await leavesNothing()
})

test('who is refused before a large body is sent can send it and read why', LIMIT, async (t) => {
  const { connect, leavesNothing } = await given(t, { leftoverLookMs: 1_000 })
  const socket = await connect()
  const bytes = 16 * 1024 * 1024
  socket.write(`POST /send HTTP/1.1\r\nHost: x\r\nContent-Length: ${bytes}\r\n\r\n`)
  const part = Buffer.alloc(bytes / 16)
  for (let n = 0; n < 16; n += 1) {
    socket.write(part)
    await sleep(200)
  }
  socket.write('GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  const answer = await socket.closed
  assert.match(answer, /^HTTP\/1\.1 401 .*HTTP\/1\.1 200 .*hello$/s)
  await leavesNothing()
})

test('a body that trickles is given up after its deadline, with the reason', LIMIT, async (t) => {
  const { connect, token, leavesNothing } = await given(t)
  const socket = await connect()
  socket.write(
    `POST /send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${await token()}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
  )
  const trickle = setInterval(() => socket.write('1\r\n \r\n'), 20)
  const answer = await socket.closed
  clearInterval(trickle)
  assert.match(answer, /^HTTP\/1\.1 408 .*"code":"request_timeout"/s)
  await leavesNothing()
})

test('a chunked body that breaks its own form is refused with the reason', LIMIT, async (t) => {
  const { connect, token, leavesNothing } = await given(t)
  const socket = await connect()
  socket.write(
    `POST /send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${await token()}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nnonsense\r\n`,
  )
  assert.match(await socket.closed, /^HTTP\/1\.1 400 .*"code":"invalid_request"/s)
  await leavesNothing()
})

for (const path of ['/hello', '/wait', '/follow']) {
  test(
    `GET ${path}: who closes his half, or vanishes, leaves nothing at work`,
    LIMIT,
    async (t) => {
      const { connect, leavesNothing } = await given(t)
      const half = await connect()
      half.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
      half.shut()
      await half.closed
      const gone = await connect()
      gone.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
      if (path !== '/hello') while (atWork.count === 0) await sleep(10)
      gone.vanish()
      await leavesNothing()
    },
  )
}
