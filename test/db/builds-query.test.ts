// What GET /builds and GET /builds/{id} can be asked: filters, waiting, steps, ETags, whose builds they are.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { appendEvents, type NewEvent } from '../../server/builds/event-store.ts'
import { endColumns, transition } from '../../server/builds/transitions.ts'
import type { Db } from '../../server/db/pool.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { DIGEST, givenWorker } from '../helpers/fake-worker.ts'
import { givenFinish } from '../helpers/finish.ts'
import { framesOf } from '../helpers/frames.ts'
import { bodyOf } from '../helpers/http.ts'

const LIMIT = { timeout: 180_000 }

const cancelled = (db: Db, id: string) =>
  transition(db, { id, from: ['queued'], to: 'cancelled', set: endColumns(db) })

const ids = async (reply: Response): Promise<string[]> => {
  assert.equal(reply.status, 200)
  return (await bodyOf(reply)).map((build: { id: string }) => build.id)
}

test('weakness 21: the list is paged and filtered by tags, all of them', async (t) => {
  const { call, db, url } = await givenApi(t)
  const both = { team: 'web', env: 'prod' }
  const a = await givenBuild(db, { tags: both })
  const b = await givenBuild(db, { tags: { ...both, odd: 'a=b&c d[e]"' } })
  const c = await givenBuild(db, { tags: { team: 'web' } })
  await givenBuild(db)
  assert.deepEqual(await ids(await call('/builds?tags[team]=web')), [c.id, b.id, a.id])
  assert.deepEqual(await ids(await call('/builds?tags[team]=web&tags[env]=prod')), [b.id, a.id])
  assert.deepEqual(await ids(await call('/builds?tags%5Bteam%5D=backend')), [])
  const odd = new URLSearchParams({ 'tags[odd]': 'a=b&c d[e]"' })
  assert.deepEqual(await ids(await call(`/builds?${odd}`)), [b.id])
  const reply = await call(`/builds?limit=1&tags[team]=web&created_after=2020-01-01T00:00:00Z`)
  assert.deepEqual(await ids(reply), [c.id])
  const [, next] = /^<(.+)>; rel="next"$/.exec(reply.headers.get('link')!)!
  const second = await call(next!.slice(url.length))
  assert.deepEqual(await ids(second), [b.id])
})

test('a filter by a tag that no build can have is refused as that', async (t) => {
  const { call } = await givenApi(t)
  for (const path of ['/builds', '/builders']) {
    const reply = await call(`${path}?${new URLSearchParams({ 'tags[ä]': 'x' })}`)
    assert.equal(reply.status, 400)
    assert.match((await bodyOf(reply)).message, /must be a tag key: 1 to 128 letters/)
  }
})

test('the list is cut by time, from an instant on and before another', async (t) => {
  const { call, db } = await givenApi(t)
  const days = ['2026-01-01', '2026-01-02', '2026-01-03']
  const builds: string[] = []
  for (const day of days) {
    const { id } = await givenBuild(db)
    await db('builds')
      .where({ id })
      .update({ created_at: `${day}T00:00:00Z` })
    builds.push(id)
  }
  const [first, second, third] = builds
  const list = async (query: Record<string, string>) =>
    ids(await call(`/builds?${new URLSearchParams(query)}`))
  assert.deepEqual(await list({ created_after: '2026-01-02T00:00:00Z' }), [third, second])
  assert.deepEqual(await list({ created_before: '2026-01-02T00:00:00Z' }), [first])
  assert.deepEqual(await list({ created_after: '2026-01-02T01:00:00+01:00' }), [third, second])
  const range = { created_after: '2026-01-01T12:00:00Z', created_before: '2026-01-02T12:00:00Z' }
  assert.deepEqual(await list(range), [second])
})

test('weakness 11: a list is of one tenant, and another one only for who may', async (t) => {
  const { call, db, token } = await givenApi(t)
  const own = await givenBuild(db)
  const foreign = await givenBuild(db, { tenant: 'other' })
  assert.deepEqual(await ids(await call('/builds')), [own.id])
  assert.deepEqual(await ids(await call('/builds?tenant=acme')), [own.id])
  const refused = await call('/builds?tenant=other')
  assert.equal(refused.status, 403)
  assert.equal((await bodyOf(refused)).code, 'forbidden')
  const admins = [
    await token({ sub: 'op', tenant: 'ops', admin: true }),
    await token({ permissions: ['build:read', 'build:admin'] }),
  ]
  for (const admin of admins) {
    assert.deepEqual(await ids(await call('/builds?tenant=other', { token: admin })), [foreign.id])
    assert.equal((await call(`/builds/${foreign.id}`, { token: admin })).status, 200)
  }
  // An admin's token that was limited is limited.
  const limited = await token({ admin: true, permissions: ['build:read'] })
  assert.equal((await call(`/builds/${foreign.id}`, { token: limited })).status, 404)
})

test('each route asks for its own permission and says which', async (t) => {
  const { call, db, token } = await givenApi(t)
  const { id } = await givenBuild(db)
  const cases: [string, string, string][] = [
    ['GET', '/builds', 'build:read'],
    ['GET', `/builds/${id}`, 'build:read'],
    ['GET', `/builds/${id}/steps`, 'build:read'],
    ['GET', `/builds/${id}/events`, 'build:read'],
    ['DELETE', `/builds/${id}`, 'build:delete'],
    ['GET', '/apps', 'app:read'],
    ['DELETE', '/apps/web', 'app:delete'],
  ]
  const all = ['build:read', 'build:write', 'build:delete', 'app:read', 'app:write', 'app:delete']
  for (const [method, path, needed] of cases) {
    const others = all.filter((permission) => permission !== needed)
    const reply = await call(path, { method, token: await token({ permissions: others }) })
    assert.equal(reply.status, 403, `${method} ${path}`)
    assert.equal((await bodyOf(reply)).message, `missing required scope: ${needed}`)
    const allowed = await call(path, { method, token: await token({ permissions: [needed] }) })
    assert.notEqual(allowed.status, 403, `${method} ${path}`)
  }
})

test('a page of queued builds has each one’s position', async (t) => {
  const { call, db } = await givenApi(t)
  await givenBuild(db, { tenant: 'other' })
  for (let i = 0; i < 5; i += 1) await givenBuild(db)
  const page = await bodyOf(await call('/builds'))
  assert.deepEqual(
    page.map((build: { queue_position: number }) => build.queue_position),
    [6, 5, 4, 3, 2],
  )
})

test('an answer that has not changed is 304, with and without waiting, for builds, steps and lists', async (t) => {
  const { call, db } = await givenApi(t)
  const { id } = await givenBuild(db)
  for (const path of [
    `/builds/${id}`,
    `/builds/${id}?wait=10ms`,
    `/builds/${id}/steps`,
    '/builds',
  ]) {
    const etag = (await call(path)).headers.get('etag')
    assert.match(etag ?? '', /^"[\w-]+"$/, path)
    for (const known of [etag!, `W/${etag}`, `"other", ${etag}`, '*']) {
      const reply = await call(path, { headers: { 'if-none-match': known } })
      assert.equal(reply.status, 304, path)
      assert.equal(reply.headers.get('etag'), etag)
      assert.equal(await reply.text(), '')
    }
    const other = await call(path, { headers: { 'if-none-match': '"other"' } })
    assert.equal(other.status, 200)
  }
  const before = (await call('/builds')).headers.get('etag')!
  await cancelled(db, id)
  const changed = await call('/builds', { headers: { 'if-none-match': before } })
  assert.equal(changed.status, 200)
})

test('steps are folded to their latest state, counted, and begin anew with each attempt', async (t) => {
  const { call, db } = await givenApi(t)
  const { id } = await givenBuild(db)
  assert.deepEqual(await bodyOf(await call(`/builds/${id}/steps`)), [])
  assert.equal('steps' in (await bodyOf(await call(`/builds/${id}`))), false)
  const step = (n: number, name: string, more: object): NewEvent => ({
    type: 'step',
    step: { n, name, state: 'started', ...more },
  })
  const started = '2026-01-01T00:00:00Z'
  await appendEvents(db, id, [
    step(1, 'of the attempt before', {}),
    { type: 'attempt', attempt: 2, reason: 'the worker was lost' },
    step(1, '[1/4] FROM scratch', { state: 'cached' }),
    step(2, '[2/4] RUN a', { started_at: started }),
    { type: 'log', line: 'a', step: 2 },
    step(3, '[3/4] RUN b', {}),
    step(2, '[2/4] RUN a', { state: 'done', duration_ms: 1500 }),
    step(3, '[3/4] RUN b', { state: 'failed', error: 'exit code 3' }),
    step(4, '[4/4] RUN c', {}),
  ])
  assert.deepEqual(await bodyOf(await call(`/builds/${id}/steps`)), [
    { n: 1, name: '[1/4] FROM scratch', state: 'cached' },
    { n: 2, name: '[2/4] RUN a', state: 'done', started_at: started, duration_ms: 1500 },
    { n: 3, name: '[3/4] RUN b', state: 'failed', error: 'exit code 3' },
    { n: 4, name: '[4/4] RUN c', state: 'started' },
  ])
  const counts = { total: 4, cached: 1, done: 1, failed: 1 }
  assert.deepEqual((await bodyOf(await call(`/builds/${id}`))).steps, { ...counts, running: 1 })
  await cancelled(db, id)
  assert.deepEqual((await bodyOf(await call(`/builds/${id}`))).steps, { ...counts, running: 0 })
})

test('weakness 17: who hears of ready finds the image on the build', LIMIT, async (t) => {
  const api = await givenApi(t)
  const { db, listener } = api
  givenFinish(t, { db, listener })
  const { id } = await givenBuild(db)
  await givenWorker(t, api, ({ succeed }) => succeed())
  const frames = await framesOf(api, `/builds/${id}/events?follow=true`)
  assert.equal(frames.at(-1)?.data.status, 'ready')
  const build = await bodyOf(await api.call(`/builds/${id}`))
  assert.equal(build.status, 'ready')
  assert.equal(build.image_digest, DIGEST)
  assert.equal(build.image_ref, `registry.example/builds/${id}`)
})

test(
  'weakness 36: the wait in the queue, the boot, the build and the push are each told',
  LIMIT,
  async (t) => {
    const api = await givenApi(t)
    const { db } = api
    const { id } = await givenBuild(db)
    await givenWorker(t, api, async ({ lease, succeed }) => {
      await lease.markHello()
      await succeed()
    })
    while ((await db('builds').where({ id }).first()).result_at === null) await sleep(20)
    const { phases } = await bodyOf(await api.call(`/builds/${id}`))
    assert.deepEqual(Object.keys(phases).sort(), ['build_ms', 'push_ms', 'queue_ms', 'vm_ms'])
  },
)

test('weakness 10: an error is valid JSON whatever the caller put into it', async (t) => {
  const { call } = await givenApi(t)
  const nasty = `"quotes" \\ {"a":1} \n\r\t\u0007 \u2028 ü🦊 %s`
  const replies = await Promise.all([
    call(`/builds?${new URLSearchParams({ app: nasty })}`),
    call(
      `/builds?${new URLSearchParams({ [`tags[${nasty.replace(']', '')}]`]: nasty.repeat(9) })}`,
    ),
    call(`/builds?${new URLSearchParams({ [nasty]: nasty })}`),
    call(`/nowhere/${encodeURIComponent(nasty)}`),
    call('/builds/x/events', { headers: { 'last-event-id': '"\\' } }),
    call('/apps', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: nasty }),
    }),
  ])
  for (const reply of replies) {
    assert.ok(reply.status >= 400 && reply.status < 500, String(reply.status))
    assert.match(reply.headers.get('content-type') ?? '', /^application\/json/)
    const { code, message } = JSON.parse(await reply.text())
    assert.match(code, /^[a-z_]+$/)
    assert.equal(typeof message, 'string')
  }
})

test('claimed builds of a list show what they have', async (t) => {
  const { call, db } = await givenApi(t)
  await givenBuild(db, { tags: { a: 'b' } })
  await setSlots(db, 1)
  const claimed = await claimNext(db, 'w')
  const [build] = await bodyOf(await call('/builds'))
  assert.equal(build.status, 'building')
  assert.equal(build.builder_instance_id, `${claimed?.id}-1`)
  assert.deepEqual(build.tags, { a: 'b' })
  assert.equal('queue_position' in build, false)
  assert.equal(Object.values(build).includes(null), false)
})
