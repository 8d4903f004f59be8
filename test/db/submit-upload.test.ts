// The upload itself: large, slow, broken off. Bytes are sent by hand, because no client sends such things.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'node:test'
import { givenApi, type TestApi } from '../helpers/api.ts'
import { DOCKERFILE, post, tarGzOf, tarOf } from '../helpers/sources.ts'
import { until } from '../helpers/until.ts'

const BOUNDARY = 'boundary'
const TYPE = `multipart/form-data; boundary=${BOUNDARY}`
const MiB = 1024 * 1024

function partHead(name: string): string {
  const file = name === 'source' ? '; filename="s.tgz"' : ''
  return `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"${file}\r\n\r\n`
}

/** A request of which nothing but its head is sent. */
async function givenRequest(api: TestApi) {
  const socket = connect(Number(new URL(api.url).port), '127.0.0.1')
  const answer = (async () => {
    let text = ''
    for await (const chunk of socket.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
      text += chunk
      if (/\r\n\r\n\{.*\}$/s.test(text)) break
    }
    return text
  })()
  answer.catch(() => {}) // a test may cut it
  socket.write(
    [
      'POST /builds HTTP/1.1',
      'Host: localhost',
      `Authorization: Bearer ${await api.token()}`,
      `Content-Type: ${TYPE}`,
      'Transfer-Encoding: chunked',
      '\r\n',
    ].join('\r\n'),
  )
  const write = async (data: Buffer | string) => {
    const bytes = Buffer.from(data)
    socket.write(`${bytes.length.toString(16)}\r\n`)
    socket.write(bytes)
    if (!socket.write('\r\n')) await once(socket, 'drain')
  }
  return { socket, write, answer }
}

/** Sends a body to its end; only then looks at the answer. */
async function send(api: TestApi, body: AsyncIterable<Buffer | string>) {
  const { socket, write, answer } = await givenRequest(api)
  for await (const data of body) await write(data)
  socket.write('0\r\n\r\n')
  const [, status, json] = /^HTTP\/1\.1 (\d+) .*\r\n\r\n(\{.*\})/s.exec(await answer) ?? []
  return { status: Number(status), body: JSON.parse(json ?? 'null') }
}

async function* sourcePart(chunks: Iterable<Buffer> | AsyncIterable<Buffer>) {
  yield partHead('source')
  yield* chunks
  yield `\r\n--${BOUNDARY}--\r\n`
}

/** One file after the other, each of 1 MiB, made of the same bytes in memory. */
async function* largeTar(files: number): AsyncGenerator<Buffer> {
  const end = 1024
  yield (await tarOf(DOCKERFILE)).subarray(0, -end)
  const file = (await tarOf([{ name: 'file' }, Buffer.alloc(MiB, 'x')])).subarray(0, -end)
  for (let i = 0; i < files; i += 1) yield file
  yield Buffer.alloc(end)
}

/** An open upload: some of the source has been sent. */
async function givenHalf(api: TestApi) {
  const open = await givenRequest(api)
  const archive = await tarOf(DOCKERFILE, [{ name: 'big' }, Buffer.alloc(MiB)])
  await open.write(partHead('source'))
  await open.write(archive.subarray(0, 100_000))
  await until('some of it is there', async () => (await api.objectFiles()).length === 1)
  return open
}

test('weakness 22: a large upload passes through, and is never in memory', async (t) => {
  const api = await givenApi(t)
  const held = () => {
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
  let most = 0
  const before = held()
  async function* watched() {
    for await (const chunk of largeTar(200)) {
      most = Math.max(most, held() - before)
      yield chunk
    }
  }
  const { status, body } = await send(api, sourcePart(watched()))
  assert.equal(status, 202, JSON.stringify(body))
  const { source_bytes: bytes } = await api.db('builds').where({ id: body.id }).first()
  assert.ok(bytes > 200 * MiB)
  t.diagnostic(`${Math.round(most / MiB)} MiB more were held while ${bytes / MiB} MiB passed`)
  assert.ok(most < 64 * MiB, `${most} bytes were held`)
})

test('weakness 22: an upload that stands still keeps no other waiting', async (t) => {
  const api = await givenApi(t)
  const { socket } = await givenHalf(api)
  const reply = await api.call('/builds', post(['source', await tarGzOf(DOCKERFILE)]))
  assert.equal(reply.status, 202)
  socket.destroy()
})

test('an upload that breaks off leaves nothing', async (t) => {
  const api = await givenApi(t)
  const { socket } = await givenHalf(api)
  socket.destroy()
  await until('nothing is left', async () => (await api.objectFiles()).length === 0)
  assert.equal((await api.db('builds')).length, 0)
})

test('an upload that stops moving is answered 408 and leaves nothing', async (t) => {
  const api = await givenApi(t, { formLimits: { idleMaxMs: 200 } })
  const { answer } = await givenHalf(api)
  const text = await answer
  assert.match(text, /^HTTP\/1\.1 408 .*Connection: close.*"code":"request_timeout"/s)
  assert.match(text, /nothing of the body came for 200 ms/)
  assert.deepEqual(await api.objectFiles(), [])
})

test('an upload that trickles for ever is answered 408 and leaves nothing', async (t) => {
  const api = await givenApi(t, { formLimits: { deadlineMs: 1_000 } })
  const { socket, answer } = await givenHalf(api)
  const trickle = setInterval(() => socket.write('1\r\nx\r\n'), 20)
  socket.on('error', () => {}) // the trickle meets the closed connection
  assert.match(await answer, /^HTTP\/1\.1 408 .*the body did not arrive within 1000 ms/s)
  clearInterval(trickle)
  assert.deepEqual(await api.objectFiles(), [])
})

test('a client that sends everything before it reads still learns why it was refused', async (t) => {
  const api = await givenApi(t)
  async function* bad() {
    yield (await tarOf([{ name: '/etc/passwd' }, 'x'])).subarray(0, 1024)
    yield* largeTar(20)
  }
  const { status, body } = await send(api, sourcePart(bad()))
  assert.equal(status, 400)
  assert.equal(body.code, 'invalid_source')
  assert.deepEqual(await api.objectFiles(), [])
})

test('a form that ends before its last boundary leaves nothing', async (t) => {
  const api = await givenApi(t)
  async function* cut() {
    yield partHead('source')
    yield await tarOf(DOCKERFILE)
  }
  const { status, body } = await send(api, cut())
  assert.equal(status, 400)
  assert.match(body.message, /^the body is not valid multipart\/form-data/)
  assert.deepEqual(await api.objectFiles(), [])
})
