// Logs and rows of builds that ended long ago.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { appendEvents } from '../../server/builds/event-store.ts'
import { createBuildLog } from '../../server/builds/log.ts'
import type { Db } from '../../server/db/pool.ts'
import { RETENTION_BATCH_LINES } from '../../server/limits.ts'
import { createBuildRetention } from '../../server/retention/build-rows.ts'
import { createLogRetention } from '../../server/retention/logs.ts'
import { givenApi } from '../helpers/api.ts'
import { givenDatabase } from '../helpers/database.ts'
import { bodyOf } from '../helpers/http.ts'
import { givenApp, givenEnded, KEEP_ALL, runPart } from '../helpers/retention.ts'

const GONE = '[the log was removed 90 days after the end of the build]'

/** A ready build with so many lines among its facts. */
async function givenLogged(db: Db, id: string, { days, lines }: { days: number; lines: number }) {
  await givenEnded(db, { id, days })
  await db('builds').where({ id }).update({ status: 'building', completed_at: null })
  await appendEvents(db, id, [{ type: 'status', status: 'building' }])
  const all = Array.from({ length: lines }, (_, n) => ({ type: 'log' as const, line: `line ${n}` }))
  await appendEvents(db, id, all)
  await appendEvents(db, id, [{ type: 'step', step: { n: 1, name: 'RUN x', state: 'done' } }])
  await appendEvents(db, id, [{ type: 'status', status: 'ready' }])
  await db('builds')
    .where({ id })
    .update({ status: 'ready', completed_at: db.raw(`now() - ? * interval '1 day'`, [days]) })
  const event = JSON.stringify({ function: 'tcp_connect' })
  await db('build_connections').insert({ build_id: id, n: 1, attempt: 1, event })
}

test('the lines of an old log go; what the build says of itself stays and is still read to its end', async (t) => {
  const { db, call } = await givenApi(t)
  const lines = RETENTION_BATCH_LINES + 10
  await givenLogged(db, 'oldbuild', { days: 91, lines })
  await givenLogged(db, 'newbuild', { days: 89, lines: 3 })
  const retention = createLogRetention({ db, settings: { logDays: 90 } })
  const { deleted } = await runPart(retention)
  assert.deepEqual(
    deleted.map(({ kind, name }) => `${kind} ${name}`),
    ['log oldbuild'],
  )
  assert.ok((deleted[0]?.bytes ?? 0) > lines * 5)
  const text = { headers: { accept: 'text/plain' } }
  assert.equal(await (await call('/builds/oldbuild/events', text)).text(), `${GONE}\n#1 DONE\n`)
  assert.match(await (await call('/builds/newbuild/events', text)).text(), /line 0\nline 1\nline 2/)
  const followed = await (await call('/builds/oldbuild/events?follow=true')).text()
  assert.match(followed, /"type":"log".*the log was removed/)
  assert.match(followed, /"status":"ready"[^\n]*\n\n$/)
  const build = await bodyOf(await call('/builds/oldbuild'))
  assert.ok(build.log_expired_at)
  assert.equal(build.steps.done, 1)
  const gone = await call('/builds/oldbuild/connections')
  assert.equal(gone.status, 404)
  assert.match((await bodyOf(gone)).message, /connections of build oldbuild were removed/)
  assert.deepEqual((await runPart(retention)).deleted, [])
})

test('a reader who stands where lines were removed gets what follows them', async (t) => {
  const { db, listener } = await givenDatabase(t)
  await givenLogged(db, 'oldbuild', { days: 91, lines: 2_500 })
  await runPart(createLogRetention({ db, settings: { logDays: 90 } }))
  const log = createBuildLog({ db, listener })
  const types: string[] = []
  for await (const event of log.follow('oldbuild', 10, new AbortController().signal)) {
    types.push(event.type)
  }
  assert.deepEqual(types, ['step', 'status'])
})

test('a run that died among the lines is ended by the next', async (t) => {
  const { db } = await givenDatabase(t)
  await givenLogged(db, 'oldbuild', { days: 91, lines: 10 })
  await db('build_events').where({ type: 'log' }).where('seq', '>', 6).delete()
  await runPart(createLogRetention({ db, settings: { logDays: 90 } }))
  assert.deepEqual(await db('build_events').where({ type: 'log' }).pluck('content'), [GONE])
})

async function givenRows(t: TestContext) {
  const { db } = await givenDatabase(t)
  const untagged: string[] = []
  const retention = createBuildRetention({
    db,
    settings: { ...KEEP_ALL, buildDays: 400 },
    removeTags: async (appId, ids) => {
      untagged.push(`${appId}: ${ids.join(' ')}`)
    },
  })
  return { db, retention, untagged }
}

test('builds go with their events and tags; never one that has its image, or has not ended', async (t) => {
  const { db, retention, untagged } = await givenRows(t)
  const digest = `sha256:${'a'.repeat(64)}`
  const appId = await givenApp(db, 'web')
  await givenLogged(db, 'oldbuild', { days: 401, lines: RETENTION_BATCH_LINES + 1 })
  await db('builds').where({ id: 'oldbuild' }).update({ app_id: appId, app: 'web' })
  const attempt = { attempt: 1, worker: 'w', claimed_at: db.fn.now() }
  await db('attempts').insert({ build_id: 'oldbuild', ...attempt })
  await givenEnded(db, { id: 'hasimage', days: 500, digest })
  await givenEnded(db, { id: 'hadimage', days: 500, digest })
  await db('builds')
    .where({ id: 'hadimage' })
    .update({ image_expired_at: db.fn.now(), image_deleted_at: db.fn.now() })
  await givenEnded(db, { id: 'youngone', days: 399, status: 'failed' })
  await givenEnded(db, { id: 'waitsyet', days: 900 })
  await db('builds').where({ id: 'waitsyet' }).update({ status: 'queued', completed_at: null })
  const dry = await runPart(retention, { dryRun: true })
  assert.deepEqual(dry.deleted.map(({ name }) => name).sort(), ['hadimage', 'oldbuild'])
  assert.deepEqual(untagged, [])
  await runPart(retention)
  const left = await db('builds').orderBy('id').pluck('id')
  assert.deepEqual(left, ['hasimage', 'waitsyet', 'youngone'])
  assert.deepEqual(untagged, ['app-web: oldbuild'])
  for (const table of ['build_events', 'attempts']) {
    assert.equal(await db(table).where({ build_id: 'oldbuild' }).first(), undefined)
  }
})

test('a build whose tag can’t be removed stays for the next run', async (t) => {
  const { db } = await givenRows(t)
  const appId = await givenApp(db, 'web')
  await givenEnded(db, { id: 'oldbuild', days: 500, status: 'failed', appId, app: 'web' })
  await givenEnded(db, { id: 'uploaded', days: 500, status: 'failed' })
  const removeTags = () => Promise.reject(new Error('no such repository'))
  const retention = createBuildRetention({ db, settings: { buildDays: 400 }, removeTags })
  const { failures } = await runPart(retention)
  assert.deepEqual(failures, [
    { kind: 'build', name: 'tags of app app-web', message: 'no such repository' },
  ])
  assert.deepEqual(await db('builds').pluck('id'), ['oldbuild'])
})
