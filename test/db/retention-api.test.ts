// POST /admin/retention, the schedule, and what a removed app leaves: all parts together.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppError } from '../../server/errors.ts'
import { renderReport } from '../../server/retention/render.ts'
import { createRetentionSchedule } from '../../server/retention/schedule.ts'
import { givenApi } from '../helpers/api.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { bodyOf, jsonBody } from '../helpers/http.ts'
import { givenEnded, KEEP_ALL } from '../helpers/retention.ts'
import { storeObject } from '../helpers/sources.ts'

const POST = { method: 'POST' }
const digest = `sha256:${'a'.repeat(64)}`

test('an operator sees what would go, lets it go, and finds nothing more', async (t) => {
  const removed: string[] = []
  const { db, call, token, metrics } = await givenApi(t, {
    retention: { ...KEEP_ALL, uploadDays: 30, logDays: 90, buildDays: 400 },
    registry: {
      deleteRepository: async (repo) => {
        removed.push(repo)
        return { bytes: 1_000 }
      },
    },
  })
  await givenEnded(db, { id: 'hasimage', days: 31, digest })
  await givenEnded(db, { id: 'isancient', days: 401, status: 'failed' })
  const admin = { ...POST, token: await token({ sub: 'op', tenant: 'ops', admin: true }) }
  const dry = await bodyOf(await call('/admin/retention?dry_run=true', admin))
  assert.equal(dry.dry_run, true)
  assert.deepEqual(removed, [])
  const names = (report: { deleted: { kind: string; name: string }[] }) =>
    report.deleted.map(({ kind, name }) => `${kind} ${name}`)
  assert.deepEqual(names(dry), ['image hasimage', 'log isancient', 'build isancient'])
  assert.match(renderReport(dry), /^image +hasimage \(older than 30 days\)$/m)
  assert.match(renderReport(dry), /^would delete: 1 image, 1 log, 1 build$/m)
  const run = await bodyOf(await call('/admin/retention', admin))
  assert.deepEqual(names(run), names(dry))
  assert.deepEqual(run.totals.image, { count: 1, bytes: 1_000 })
  assert.deepEqual(removed, ['builds/hasimage'])
  assert.match(renderReport(run), /^deleted: 1 image \(1000 B\), 1 log, 1 build$/m)
  assert.deepEqual((await bodyOf(await call('/admin/retention', admin))).deleted, [])
  const shown = await metrics.prometheus()
  assert.match(shown, /hypeman_retention_deleted_total\{kind="image"\} 1/)
  assert.match(shown, /hypeman_retention_runs_total 2/)
})

test('it is the operator’s alone', async (t) => {
  const { call, token } = await givenApi(t)
  assert.equal((await call('/admin/retention', POST)).status, 403)
  const all = await token({ permissions: ['*'] })
  assert.equal((await call('/admin/retention', { ...POST, token: all })).status, 403)
  const own = await token({ permissions: ['retention:admin'] })
  assert.equal((await call('/admin/retention?dry_run=1', { ...POST, token: own })).status, 200)
})

test('two runs at once are one run, and a look is always possible', async (t) => {
  let enter = () => {}
  let leave = () => {}
  const entered = new Promise<void>((resolve) => {
    enter = resolve
  })
  const left = new Promise<void>((resolve) => {
    leave = resolve
  })
  const { db, call, token } = await givenApi(t, {
    retention: { ...KEEP_ALL, uploadDays: 30 },
    registry: {
      async deleteRepository() {
        enter()
        await left
        return { bytes: 0 }
      },
    },
  })
  await givenEnded(db, { days: 31, digest })
  const admin = { ...POST, token: await token({ admin: true }) }
  const first = call('/admin/retention', admin)
  await entered
  const second = await call('/admin/retention', admin)
  assert.equal(second.status, 409)
  assert.equal((await bodyOf(second)).message, 'a run of the retention is under way already')
  assert.equal((await call('/admin/retention?dry_run=true', admin)).status, 200)
  leave()
  assert.equal((await first).status, 200)
})

test('a part that fails does not keep the others back', async (t) => {
  const { db, call, token } = await givenApi(t, {
    retention: { ...KEEP_ALL, cacheDays: 14, buildDays: 400 },
    registry: {
      // biome-ignore lint/correctness/useYield: it fails before the first page
      async *repositories() {
        throw new AppError('registry_unavailable', 'no registry')
      },
    },
  })
  await givenEnded(db, { id: 'isancient', days: 401, status: 'failed' })
  const reply = await call('/admin/retention', { ...POST, token: await token({ admin: true }) })
  const { deleted, failures } = await bodyOf(reply)
  assert.deepEqual(failures, [
    { kind: 'cache', name: 'catalog of the registry', message: 'no registry' },
    { kind: 'orphan', name: 'all of them', message: 'no registry' },
  ])
  assert.equal(deleted.length, 1)
})

test('removing an app starts a run soon, and leaves images, sources and builders to it', async (t) => {
  const { db, listener, call, token, objects } = await givenApi(t)
  await call('/apps', jsonBody('POST', { name: 'web' }))
  const { id: appId } = await db('apps').first()
  const { key: sourceKey } = await storeObject(objects, asStream('source'))
  await givenEnded(db, { id: 'hasimage', appId, app: 'web', digest, sourceKey })
  const mine = { tenant: 'acme', disk_size_gb: 1, generation: 'b-1', generation_worker: 'w' }
  await db('builders').insert({ ...mine, key: 'b', id: 'b', name: 'web', app_id: appId })
  let ran = () => {}
  const hasRun = new Promise<void>((resolve) => {
    ran = resolve
  })
  const schedule = createRetentionSchedule({
    retention: {
      async run() {
        ran()
        throw new AppError('conflict', 'another process runs it')
      },
      stop: async () => {},
    },
    listener,
    log: silent,
  })
  schedule.start()
  t.after(() => schedule.stop())
  assert.equal((await call('/apps/web', { method: 'DELETE' })).status, 204)
  await hasRun
  const admin = { ...POST, token: await token({ admin: true }) }
  const { deleted } = await bodyOf(await call('/admin/retention', admin))
  assert.deepEqual(
    deleted.map(({ kind, reason }: { kind: string; reason: string }) => `${kind}: ${reason}`),
    ['image: its app was removed', 'source: its builds have ended'],
  )
  assert.deepEqual(await db('builders'), [])
  assert.deepEqual(await db('repository_use').pluck('repo'), [])
  const left = await bodyOf(await call('/builds/hasimage'))
  assert.equal(left.image_ref, undefined)
  assert.ok(left.image_expired_at)
})

async function* asStream(text: string) {
  yield Buffer.from(text)
}

test('the schedule runs by itself, again and again, and not after its end', async (t) => {
  const { listener } = await givenDatabase(t)
  let runs = 0
  let third = () => {}
  const thrice = new Promise<void>((resolve) => {
    third = resolve
  })
  const schedule = createRetentionSchedule({
    retention: {
      async run() {
        runs += 1
        if (runs === 3) third()
        throw new Error('the database is away')
      },
      stop: async () => {},
    },
    listener,
    log: silent,
    firstDelayMs: 1,
    intervalMs: 1,
  })
  schedule.start()
  await thrice
  await schedule.stop()
  const before = runs
  await new Promise((resolve) => setTimeout(resolve, 30))
  assert.equal(runs, before)
})
