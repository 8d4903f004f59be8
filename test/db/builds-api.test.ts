// /builds over real rows: listing and paging, ownership, cancelling, the log as SSE and as text.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { endColumns, transition } from '../../server/builds/transitions.ts'
import type { Db } from '../../server/db/pool.ts'
import { givenApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenWorkerEntry } from '../helpers/fake-worker.ts'
import { bodyOf } from '../helpers/http.ts'

const cancelled = (db: Db, id: string) =>
  transition(db, { id, from: ['queued'], to: 'cancelled', set: endColumns(db) })

const ids = async (reply: Response): Promise<string[]> =>
  (await bodyOf(reply)).map((build: { id: string }) => build.id)

function nextOf(reply: Response, url: string): string | undefined {
  const link = reply.headers.get('link')
  if (link === null) return undefined
  const [, target] = /^<(.+)>; rel="next"$/.exec(link) ?? assert.fail(link)
  assert.ok(target!.startsWith(`${url}/builds?`))
  return target!.slice(url.length)
}

test('a build is shown with what it has, and absent fields are absent', async (t) => {
  const { call, db } = await givenApi(t)
  const commit = 'a'.repeat(40)
  const { id } = await givenBuild(db, { app: 'web', ref: 'refs/heads/main', commit })
  await givenWorkerEntry(db)
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
    ['owner=other', /^query owner="other": is not known here/],
    ['tags=x', /^query tags="x": /],
    ['tags[]=x', /^query tags\.="x"|^query tags\./],
    ['tags[a]=1&tags[a]=2', /^query tags\.a=\["1","2"\]: /],
    ['tags[%00]=x', /^query tags\."\\u0000"="x": must be a tag key/],
    ['tags[a]=%00', /^query tags\.a: holds a NUL/],
    ['app[x]=1', /^query app=/],
    ['created_after=yesterday', /^query created_after="yesterday": must be an instant/],
  ]
  for (const [query, message] of cases) {
    const reply = await call(`/builds?${query}`)
    assert.equal(reply.status, 400, query)
    assert.match((await bodyOf(reply)).message, message)
  }
})

test('weakness 11: another tenant’s build is as unknown as one that never was', async (t) => {
  const { call, db, token } = await givenApi(t)
  const { id } = await givenBuild(db)
  const other = await token({ sub: 'bob', tenant: 'other' })
  for (const [path, method] of [
    [`/builds/${id}`, 'GET'],
    [`/builds/${id}`, 'DELETE'],
    [`/builds/${id}?wait=1s`, 'GET'],
    [`/builds/${id}/steps`, 'GET'],
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

test('weakness 13: a queued build is cancelled at once, twice is fine, and a finished one is a conflict, not a 500', async (t) => {
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

test('health is not ok once a newer program has brought the database up to date', async (t) => {
  const { call } = await givenApi(t, { skew: 'the database is at 9999_next.js now' })
  const ill = await call('/health', { token: null })
  assert.equal(ill.status, 503)
  assert.deepEqual(await bodyOf(ill), {
    status: 'unavailable',
    code: 'version_skew',
    message: 'the database is at 9999_next.js now',
  })
})
