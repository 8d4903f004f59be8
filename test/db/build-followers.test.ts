// Many followers, slow ones, and logs of any size: what it costs, and that nobody misses a line.
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { appendEvents, type NewEvent } from '../../server/builds/event-store.ts'
import { endColumns, transition } from '../../server/builds/transitions.ts'
import type { Db } from '../../server/db/pool.ts'
import { createLogWriter } from '../../server/pipeline/log-writer.ts'
import { givenApi, type TestApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenWorker } from '../helpers/fake-worker.ts'
import { framesOf, parseFrames } from '../helpers/frames.ts'

const LIMIT = { timeout: 120_000 }

const end = (db: Db, id: string) =>
  transition(db, { id, from: ['queued'], to: 'cancelled', set: endColumns(db) })

const lines = (from: number, count: number): NewEvent[] =>
  Array.from({ length: count }, (_, i) => ({ type: 'log', line: `line ${from + i}` }))

/** A log as it would be after a long build; written by the database itself, because it is quicker. */
async function givenLog(db: Db, id: string, count: number, bytes: number): Promise<void> {
  await db.raw(
    `with base as (
       update builds set last_seq = last_seq + :count where id = :id returning last_seq - :count as n
     )
     insert into build_events (build_id, seq, type, content)
     select :id, base.n + i, 'log', rpad(i || ' ', :bytes, 'x')
     from base, generate_series(1, :count) i`,
    { id, count, bytes },
  )
}

/** How many statements have read events. */
function countReads(db: Db): () => number {
  let reads = 0
  db.on('query', ({ sql }: { sql: string }) => {
    if (/from build_events/.test(sql)) reads += 1
  })
  return () => reads
}

test(
  '200 followers of one build all get every line in order, and each line is read about once',
  LIMIT,
  async (t) => {
    const api = await givenApi(t)
    const { db, buildLog } = api
    const { id } = await givenBuild(db)
    const reads = countReads(db)
    const followers = Array.from({ length: 200 }, () =>
      framesOf(api, `/builds/${id}/events?follow=true`),
    )
    const batches = 40
    for (let i = 0; i < batches; i += 1) {
      await appendEvents(db, id, lines(i * 25, 25))
      await sleep(5)
    }
    await end(db, id)
    const expected = ['queued', ...lines(0, batches * 25).map((l) => l.type === 'log' && l.line)]
    for (const frames of await Promise.all(followers)) {
      assert.deepEqual(
        frames.map(({ data }) => data.content ?? data.status),
        [...expected, 'cancelled'],
      )
    }
    // By themselves they would read 200 times for each batch.
    assert.ok(reads() < 10 * batches, `${reads()} reads`)
    assert.equal(buildLog.followed(), 0)
  },
)

test(
  'followers of different places in a long log each get exactly what is left',
  LIMIT,
  async (t) => {
    const api = await givenApi(t)
    const { db } = api
    const { id } = await givenBuild(db)
    await givenLog(db, id, 5000, 20)
    const starts = [0, 1, 999, 1000, 1001, 2500, 4999, 5000]
    const following = starts.map((seq) =>
      framesOf(api, `/builds/${id}/events?follow=true`, { 'last-event-id': String(seq) }),
    )
    await end(db, id)
    for (const [i, frames] of (await Promise.all(following)).entries()) {
      const numbers = frames.flatMap((frame) => (frame.id ? [Number(frame.id)] : []))
      assert.deepEqual(
        numbers,
        Array.from({ length: 5002 - starts[i]! }, (_, n) => starts[i]! + n + 1),
      )
    }
  },
)

test('weakness 26: lines of any length and any characters arrive whole', LIMIT, async (t) => {
  const api = await givenApi(t)
  const { db } = api
  const { id } = await givenBuild(db)
  const long = ['€'.repeat(65_537), '🦊ü'.repeat(50_000), 'x'.repeat(64 * 1024), `"\\\t\u001b[1m\r`]
  const writer = createLogWriter({ append: (events) => appendEvents(db, id, events) })
  for (const line of long) await writer.write({ type: 'log', line })
  await writer.close()
  await end(db, id)
  for (const query of ['?follow=true', '']) {
    const frames = await framesOf(api, `/builds/${id}/events${query}`)
    assert.deepEqual(
      frames.flatMap(({ data }) => (data.type === 'log' ? [data.content] : [])),
      long,
    )
  }
})

test(
  'weakness 26: the terminal status comes after every line, and no change of status is lost',
  LIMIT,
  async (t) => {
    const api = await givenApi(t)
    const builds = await Promise.all(Array.from({ length: 6 }, () => givenBuild(api.db)))
    const following = builds.map(({ id }) => framesOf(api, `/builds/${id}/events?follow=true`))
    await givenWorker(t, api, async ({ lease }) => {
      const writer = createLogWriter({ append: lease.append })
      for (let i = 0; i < 3000; i += 1) await writer.write({ type: 'log', line: `line ${i}` })
      await writer.close()
      await lease.markPushing()
      await lease.fail({ failureClass: 'registry', error: 'the registry said no' })
    })
    for (const frames of await Promise.all(following)) {
      assert.deepEqual(
        frames.flatMap(({ data }) => data.status ?? []),
        ['queued', 'building', 'pushing', 'failed'],
      )
      assert.equal(frames.filter(({ data }) => data.type === 'log').length, 3000)
      assert.equal(frames.at(-1)?.data.status, 'failed')
      const at = frames.map(({ data }) => data.timestamp)
      assert.deepEqual(at, [...at].sort(), 'each says when it happened, not when it was sent')
    }
  },
)

/** Follows by a bare socket that reads only when told to, because fetch() reads ahead. */
function slowFollower(t: TestContext, api: TestApi, path: string, token: string) {
  const socket = connect({ port: Number(new URL(api.url).port), host: '127.0.0.1' })
  t.after(() => socket.destroy())
  socket.on('error', () => {}) // being dropped is what is tested
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`)
  return socket
}

test(
  'a follower that stops reading costs one page, is dropped, and resumes where it was',
  LIMIT,
  async (t) => {
    const api = await givenApi(t, { sseOptions: { stallMs: 300 } })
    const { db, http, buildLog } = api
    const { id } = await givenBuild(db)
    await givenLog(db, id, 40_000, 1000)
    let held = 0
    http.server.on('request', (_req, res) => {
      const look = setInterval(() => {
        held = Math.max(held, res.writableLength)
      }, 5)
      res.once('close', () => clearInterval(look))
    })
    const path = `/builds/${id}/events?follow=true`
    const socket = slowFollower(t, api, path, await api.token())
    await new Promise((resolve) => socket.once('readable', resolve))
    while (buildLog.followed() > 0 || held === 0) await sleep(20) // dropped by the server
    assert.ok(held < 1024 * 1024, `${held} bytes held for it`)

    let received = ''
    socket.setEncoding('latin1')
    for (let part = socket.read(); part !== null; part = socket.read()) received += part
    const got = [...received.matchAll(/^id: (\d+)$/gm)].map(([, number]) => Number(number))
    const last = got.at(-2)! // the one behind it may be cut
    await end(db, id)
    const rest = await framesOf(api, path, { 'last-event-id': String(last) })
    const numbers = rest.flatMap((frame) => (frame.id ? [Number(frame.id)] : []))
    assert.equal(numbers[0], last + 1)
    assert.equal(numbers.length, 40_002 - last)
    assert.equal(rest.at(-1)?.data.status, 'cancelled')
  },
)

test('a log of very many lines streams through without being held', LIMIT, async (t) => {
  const api = await givenApi(t)
  const { db } = api
  const { id } = await givenBuild(db)
  const count = 200_000
  await givenLog(db, id, count, 300)
  await end(db, id)
  const used = usedMemory()
  const before = used()
  const growth: number[] = []
  let seen = 0
  let rest = ''
  for (const query of ['?follow=true', '']) {
    const reply = await api.call(`/builds/${id}/events${query}`)
    const decoder = new TextDecoder()
    let parts = 0
    for await (const part of reply.body!) {
      const text = rest + decoder.decode(part as Uint8Array, { stream: true })
      const cut = text.lastIndexOf('\n\n') + 2
      rest = text.slice(cut)
      seen += text.slice(0, cut).split('"type":"log"').length - 1
      parts += 1
      if (parts % 200 === 0) growth.push(used() - before)
    }
    assert.equal(rest, '')
  }
  assert.equal(seen, 2 * count)
  assert.ok(growth.length > 5)
  assert.ok(Math.max(...growth) < 40 * 1024 * 1024, `grew by ${growth} bytes`)
})

/** Bytes in use once what nobody holds is gone. */
function usedMemory(): () => number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  return () => {
    collect()
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
}

test(
  'weakness 27: a stream outlives silence of any length while its build waits',
  LIMIT,
  async (t) => {
    const api = await givenApi(t, { sseOptions: { heartbeatMs: 20 } })
    const { db } = api
    const { id } = await givenBuild(db)
    assert.equal(api.http.server.requestTimeout, 0)
    assert.equal(api.http.server.timeout, 0)
    const reply = await api.call(`/builds/${id}/events?follow=true`)
    let text = ''
    let hasEnded = false
    for await (const part of reply.body!) {
      text += Buffer.from(part).toString()
      if (text.split('"heartbeat"').length > 20 && !hasEnded) {
        hasEnded = true
        await appendEvents(db, id, lines(0, 1))
        await end(db, id)
      }
    }
    const told = parseFrames(text).filter(({ data }) => data.type !== 'heartbeat')
    assert.deepEqual(
      told.map(({ data }) => data.content ?? data.status),
      ['queued', 'line 0', 'cancelled'],
    )
    for (const { id: number, data } of parseFrames(text)) {
      if (data.type !== 'heartbeat') continue
      assert.equal(number, undefined)
      assert.deepEqual(Object.keys(data), ['type', 'timestamp'])
    }
  },
)
