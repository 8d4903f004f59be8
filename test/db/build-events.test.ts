// A build's events over HTTP: as they come, resumed, as text, kept alive.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { appendEvents, type NewEvent } from '../../server/builds/event-store.ts'
import { endColumns, transition } from '../../server/builds/transitions.ts'
import type { Db } from '../../server/db/pool.ts'
import { givenApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { framesOf, parseFrames } from '../helpers/frames.ts'
import { bodyOf } from '../helpers/http.ts'

const cancelled = (db: Db, id: string) =>
  transition(db, { id, from: ['queued'], to: 'cancelled', set: endColumns(db) })

const line = (text: string): NewEvent => ({ type: 'log', line: text })

test('following shows status, lines, steps and attempts as they come and ends with the build', {
  timeout: 180_000,
}, async (t) => {
  const api = await givenApi(t)
  const { db } = api
  const { id } = await givenBuild(db)
  const abort = new AbortController()
  const reply = await api.call(`/builds/${id}/events?follow=true`, { signal: abort.signal })
  const arrived: { at: number; text: string }[] = []
  const reading = (async () => {
    for await (const part of reply.body!) {
      arrived.push({ at: Date.now(), text: Buffer.from(part).toString() })
    }
  })()
  await appendEvents(db, id, [line('one ü'), line(''), { type: 'log', line: 'three', step: 2 }])
  await sleep(300)
  await appendEvents(db, id, [
    { type: 'step', step: { n: 2, name: 'RUN x', state: 'done', duration_ms: 1500 } },
    { type: 'attempt', attempt: 2, reason: 'the worker was lost' },
  ])
  await cancelled(db, id)
  await reading
  const frames = parseFrames(arrived.map(({ text }) => text).join(''))
  const shown = frames.map(({ id: seq, data: { timestamp, ...data } }) => {
    assert.ok(Math.abs(Date.parse(timestamp) - Date.now()) < 60_000)
    return [seq, data]
  })
  assert.deepEqual(shown, [
    ['1', { type: 'status', status: 'queued' }],
    ['2', { type: 'log', content: 'one ü' }],
    ['3', { type: 'log' }],
    ['4', { type: 'log', content: 'three', step: 2 }],
    ['5', { type: 'step', step: { n: 2, name: 'RUN x', state: 'done', duration_ms: 1500 } }],
    ['6', { type: 'attempt', attempt: 2, content: 'the worker was lost' }],
    ['7', { type: 'status', status: 'cancelled' }],
  ])
  const at = (text: string) => arrived.find((part) => part.text.includes(text))!.at
  assert.ok(at('"cancelled"') - at('one ü') > 200, 'lines come live, not at the end')
})

test('weakness 26: a reader resumes behind Last-Event-ID, first told where it stands, and 204 tells it that a finished build has no more', async (t) => {
  const api = await givenApi(t)
  const { id } = await givenBuild(api.db)
  await appendEvents(api.db, id, [line('a'), line('b')])
  await cancelled(api.db, id)
  const path = `/builds/${id}/events?follow=true`
  const rest = await framesOf(api, path, { 'last-event-id': '2' })
  assert.deepEqual(
    rest.map(({ id: number, data: { timestamp: _, ...data } }) => [number, data]),
    [
      [undefined, { type: 'status', status: 'queued' }],
      ['3', { type: 'log', content: 'b' }],
      ['4', { type: 'status', status: 'cancelled' }],
    ],
  )
  const over = await api.call(path, { headers: { 'last-event-id': '4' } })
  assert.equal(over.status, 204)
  const bad = await api.call(path, { headers: { 'last-event-id': 'x' } })
  assert.equal(bad.status, 400)
  assert.match((await bodyOf(bad)).message, /^header last-event-id="x"/)
  const typo = await api.call(`/builds/${id}/events?follow=yes`)
  assert.equal((await bodyOf(typo)).message, 'query follow="yes": must be true or false')
})

test('weakness 28: a finished build that is followed gives its log and its terminal status', async (t) => {
  const api = await givenApi(t)
  const { id } = await givenBuild(api.db)
  await appendEvents(api.db, id, [line('a'), line('b')])
  await cancelled(api.db, id)
  const frames = await framesOf(api, `/builds/${id}/events?follow=true`)
  assert.deepEqual(
    frames.map(({ data }) => data.content ?? data.status),
    ['queued', 'a', 'b', 'cancelled'],
  )
})

test('the status a reader resumes in is the one of its place, never a terminal one before the lines', async (t) => {
  const api = await givenApi(t)
  const { db } = api
  const { id } = await givenBuild(db)
  await transition(db, { id, from: ['queued'], to: 'building' })
  await appendEvents(db, id, [line('a'), line('b')])
  await transition(db, { id, from: ['building'], to: 'pushing' })
  const failed = { ...endColumns(db), failure_class: 'registry', error: 'x' }
  await transition(db, { id, from: ['pushing'], to: 'failed', set: failed })
  const from = async (seq: number) => {
    const path = `/builds/${id}/events?follow=true`
    const frames = await framesOf(api, path, { 'last-event-id': String(seq) })
    return frames.map(({ data }) => data.content ?? data.status)
  }
  assert.deepEqual(await from(1), ['queued', 'building', 'a', 'b', 'pushing', 'failed'])
  assert.deepEqual(await from(3), ['building', 'b', 'pushing', 'failed'])
  assert.deepEqual(await from(5), ['pushing', 'failed'])
})

test('without follow the log so far is given, without status, and the stream ends, under both names', async (t) => {
  const api = await givenApi(t)
  const { id } = await givenBuild(api.db)
  await appendEvents(api.db, id, [line('a')])
  for (const path of [`/builds/${id}/events`, `/builds/${id}/logs?follow=false`]) {
    const frames = await framesOf(api, path)
    assert.deepEqual(
      frames.map(({ data }) => data.type),
      ['log'],
    )
  }
})

test('who asks for text/plain gets the plain log, of any length', async (t) => {
  const api = await givenApi(t)
  const { id } = await givenBuild(api.db)
  const lines = Array.from({ length: 2500 }, (_, i) => `line ${i} €`)
  await appendEvents(api.db, id, [
    { type: 'step', step: { n: 1, name: '[1/2] FROM scratch', state: 'cached' } },
    { type: 'step', step: { n: 2, name: '[2/2] RUN x', state: 'started' } },
    ...lines.map(line),
    { type: 'step', step: { n: 2, name: '[2/2] RUN x', state: 'failed', error: 'exit code 3' } },
  ])
  const reply = await api.call(`/builds/${id}/logs`, { headers: { accept: 'text/plain' } })
  assert.equal(reply.headers.get('content-type'), 'text/plain; charset=utf-8')
  assert.equal(reply.headers.get('x-content-type-options'), 'nosniff')
  const expected = ['#1 [1/2] FROM scratch', '#1 CACHED', '#2 [2/2] RUN x', ...lines]
  assert.equal(await reply.text(), `${[...expected, '#2 ERROR: exit code 3'].join('\n')}\n`)
  const followed = await api.call(`/builds/${id}/logs?follow=true`, {
    headers: { accept: 'text/plain' },
    signal: AbortSignal.timeout(60_000),
  })
  assert.equal(followed.headers.get('content-type'), 'text/event-stream')
  await followed.body?.cancel()
})

test('weakness 27: a queued build that is followed is kept alive by heartbeats', {
  timeout: 180_000,
}, async (t) => {
  const api = await givenApi(t, { sseOptions: { heartbeatMs: 50 } })
  const { id } = await givenBuild(api.db)
  const reply = await api.call(`/builds/${id}/events?follow=true`)
  let text = ''
  for await (const part of reply.body!) {
    text += Buffer.from(part).toString()
    if (text.split('"heartbeat"').length > 3) break
  }
  const heartbeats = parseFrames(text).filter(({ data }) => data.type === 'heartbeat')
  assert.ok(heartbeats.every((frame) => frame.id === undefined))
})
