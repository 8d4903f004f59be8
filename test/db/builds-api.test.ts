// /builds over real rows: listing and paging, ownership, cancelling, the log as SSE and as text.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { appendEvents, type NewEvent } from '../../server/builds/event-store.ts'
import { endColumns, transition } from '../../server/builds/transitions.ts'
import type { Db } from '../../server/db/pool.ts'
import { givenApi, type TestApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { bodyOf } from '../helpers/http.ts'

const cancelled = (db: Db, id: string) =>
  transition(db, { id, from: ['queued'], to: 'cancelled', set: endColumns(db) })

const line = (text: string): NewEvent => ({ type: 'log', line: text })

const ids = async (reply: Response): Promise<string[]> =>
  (await bodyOf(reply)).map((build: { id: string }) => build.id)

function nextOf(reply: Response, url: string): string | undefined {
  const link = reply.headers.get('link')
  if (link === null) return undefined
  const [, target] = /^<(.+)>; rel="next"$/.exec(link) ?? assert.fail(link)
  assert.ok(target!.startsWith(`${url}/builds?`))
  return target!.slice(url.length)
}

interface Frame {
  id?: string
  // biome-ignore lint/suspicious/noExplicitAny: frames of every type
  data: any
}

function parseFrames(text: string): Frame[] {
  return text
    .split('\n\n')
    .filter(Boolean)
    .map((frame) => {
      const fields = Object.fromEntries(
        frame.split('\n').map((part) => {
          const colon = part.indexOf(': ')
          return [part.slice(0, colon), part.slice(colon + 2)]
        }),
      )
      return { ...(fields.id ? { id: fields.id } : {}), data: JSON.parse(fields.data!) }
    })
}

const framesOf = async (api: TestApi, path: string, headers: Record<string, string> = {}) => {
  const reply = await api.call(path, { headers })
  assert.equal(reply.status, 200)
  assert.equal(reply.headers.get('content-type'), 'text/event-stream')
  return parseFrames(await reply.text())
}

test('a build is shown with what it has, and absent fields are absent', async (t) => {
  const { call, db } = await givenApi(t)
  const commit = 'a'.repeat(40)
  const { id } = await givenBuild(db, { app: 'web', ref: 'refs/heads/main', commit })
  const build = await bodyOf(await call(`/builds/${id}`))
  assert.deepEqual(
    { ...build, created_at: 0 },
    {
      id,
      status: 'queued',
      queue_position: 1,
      attempt: 0,
      app: 'web',
      ref: 'refs/heads/main',
      commit,
      pusher: 'ada',
      created_at: 0,
    },
  )
})

test('the list is a bare array, newest first, of the caller’s tenant, and filters', async (t) => {
  const { call, db, token } = await givenApi(t)
  const a = await givenBuild(db, { app: 'web' })
  const b = await givenBuild(db, { app: 'api' })
  const c = await givenBuild(db, { app: 'web' })
  const foreign = await givenBuild(db, { tenant: 'other', app: 'web' })
  await cancelled(db, a.id)
  assert.deepEqual(await ids(await call('/builds')), [c.id, b.id, a.id])
  assert.deepEqual(await ids(await call('/builds?app=web')), [c.id, a.id])
  assert.deepEqual(await ids(await call('/builds?app=web&status=queued')), [c.id])
  assert.deepEqual(await ids(await call('/builds?status=ready')), [])
  const other = await token({ sub: 'bob', tenant: 'other' })
  assert.deepEqual(await ids(await call('/builds', { token: other })), [foreign.id])
})

test('paging meets every old build once, however many new ones come meanwhile', async (t) => {
  const { call, db, url } = await givenApi(t)
  const old: string[] = []
  for (let i = 0; i < 7; i += 1) old.unshift((await givenBuild(db)).id)
  // Several of the same instant, which only the id tells apart.
  await db('builds')
    .whereIn('id', old.slice(2, 5))
    .update({ created_at: new Date('2026-01-01') })
  const order = (await db('builds').orderByRaw('created_at desc, id desc')).map((row) => row.id)
  const seen: string[] = []
  let path: string | undefined = '/builds?limit=2&status=queued'
  for (let pages = 0; path !== undefined && pages < 10; pages += 1) {
    const reply: Response = await call(path)
    path = nextOf(reply, url)
    const page = await ids(reply)
    assert.equal(page.length, path === undefined ? 1 : 2)
    seen.push(...page)
    await givenBuild(db)
  }
  assert.deepEqual(seen, order)
})

test('a last page that is exactly full has no next one', async (t) => {
  const { call, db } = await givenApi(t)
  for (let i = 0; i < 3; i += 1) await givenBuild(db)
  const reply = await call('/builds?limit=3')
  assert.equal((await ids(reply)).length, 3)
  assert.equal(reply.headers.get('link'), null)
})

test('list queries that make no sense are refused with field and value', async (t) => {
  const { call, db } = await givenApi(t)
  const foreign = await givenBuild(db, { tenant: 'other' })
  const cases: [string, RegExp][] = [
    ['limit=0', /^query limit="0": /],
    ['limit=201', /^query limit="201": /],
    ['limit=x', /^query limit="x": /],
    ['limit=1&limit=2', /^query limit=\["1","2"\]: /],
    ['status=done', /^query status="done": /],
    ['app=Web', /^query app="Web": /],
    ['before=UP', /^query before="UP": must be a build id/],
    ['before=nosuchbuild', /^query before="nosuchbuild": is no build of yours/],
    [`before=${foreign.id}`, /is no build of yours/],
    ['tenant=other', /^query tenant="other": is not known here/],
  ]
  for (const [query, message] of cases) {
    const reply = await call(`/builds?${query}`)
    assert.equal(reply.status, 400, query)
    assert.match((await bodyOf(reply)).message, message)
  }
})

test('another tenant’s build is as unknown as one that never was', async (t) => {
  const { call, db, token } = await givenApi(t)
  const { id } = await givenBuild(db)
  const other = await token({ sub: 'bob', tenant: 'other' })
  for (const [path, method] of [
    [`/builds/${id}`, 'GET'],
    [`/builds/${id}`, 'DELETE'],
    [`/builds/${id}/events`, 'GET'],
    [`/builds/${id}/logs?follow=true`, 'GET'],
  ] as const) {
    const reply = await call(path, { method, token: other })
    assert.equal(reply.status, 404, path)
    assert.deepEqual(await bodyOf(reply), { code: 'not_found', message: 'build not found' })
  }
  assert.equal((await call(`/builds/${id}`)).status, 200)
  assert.equal((await call('/builds/no_build')).status, 404)
  const admin = await token({ tenant: 'operators', admin: true })
  assert.equal((await call(`/builds/${id}`, { token: admin })).status, 200)
})

test('a queued build is cancelled at once, twice is fine, and a finished one is a conflict', async (t) => {
  const { call, db, token } = await givenApi(t)
  const { id } = await givenBuild(db)
  const reader = await token({ permissions: ['build:read', 'build:write'] })
  assert.equal((await call(`/builds/${id}`, { method: 'DELETE', token: reader })).status, 403)
  assert.equal((await call(`/builds/${id}`, { method: 'DELETE' })).status, 204)
  assert.equal((await call(`/builds/${id}`, { method: 'DELETE' })).status, 204)
  const build = await bodyOf(await call(`/builds/${id}`))
  assert.equal(build.status, 'cancelled')
  assert.ok(build.completed_at)
  const done = await givenBuild(db)
  await transition(db, {
    id: done.id,
    from: ['queued'],
    to: 'failed',
    set: { ...endColumns(db), failure_class: 'source', error: 'x' },
  })
  const refused = await call(`/builds/${done.id}`, { method: 'DELETE' })
  assert.equal(refused.status, 409)
  assert.equal((await bodyOf(refused)).code, 'conflict')
})

test('following shows status, lines, steps and attempts as they come and ends with the build', {
  timeout: 20_000,
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

test('a reader resumes behind Last-Event-ID, and 204 tells it that a finished build has no more', async (t) => {
  const api = await givenApi(t)
  const { id } = await givenBuild(api.db)
  await appendEvents(api.db, id, [line('a'), line('b')])
  await cancelled(api.db, id)
  const path = `/builds/${id}/events?follow=true`
  const rest = await framesOf(api, path, { 'last-event-id': '2' })
  assert.deepEqual(
    rest.map((frame) => frame.id),
    ['3', '4'],
  )
  const over = await api.call(path, { headers: { 'last-event-id': '4' } })
  assert.equal(over.status, 204)
  const bad = await api.call(path, { headers: { 'last-event-id': 'x' } })
  assert.equal(bad.status, 400)
  assert.match((await bodyOf(bad)).message, /^header last-event-id="x"/)
  const typo = await api.call(`/builds/${id}/events?follow=yes`)
  assert.equal((await bodyOf(typo)).message, 'query follow="yes": must be true or false')
})

test('without follow the log so far is given and the stream ends, under both names', async (t) => {
  const api = await givenApi(t)
  const { id } = await givenBuild(api.db)
  await appendEvents(api.db, id, [line('a')])
  for (const path of [`/builds/${id}/events`, `/builds/${id}/logs?follow=false`]) {
    const frames = await framesOf(api, path)
    assert.deepEqual(
      frames.map(({ data }) => data.type),
      ['status', 'log'],
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
    signal: AbortSignal.timeout(5000),
  })
  assert.equal(followed.headers.get('content-type'), 'text/event-stream')
  await followed.body?.cancel()
})

test('a queued build that is followed is kept alive by heartbeats', {
  timeout: 20_000,
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

test('health is ok with a database and names it when it is away', async (t) => {
  const { call, db } = await givenApi(t)
  const well = await call('/health', { token: null })
  assert.equal(well.status, 200)
  assert.deepEqual(await bodyOf(well), { status: 'ok' })
  await db.destroy()
  const ill = await call('/health', { token: null })
  assert.equal(ill.status, 503)
  assert.deepEqual(await bodyOf(ill), {
    status: 'unavailable',
    code: 'database_unavailable',
    message: 'does not answer: database',
  })
})
