// Workers as rows: who is there, what an operator may ask of them, and how their loop stops.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { requireMigrated } from '../../server/db/migrate.ts'
import type { Db } from '../../server/db/pool.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { createWorker } from '../../server/queue/worker.ts'
import { createPresence } from '../../server/workers/presence.ts'
import { createWorkerStore, type WorkerIdentity } from '../../server/workers/store.ts'
import { givenApi, type TestApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase, silent, type TestDatabase } from '../helpers/database.ts'
import { aborted, type FakeRun, givenWorker, givenWorkerEntry } from '../helpers/fake-worker.ts'
import { bodyOf } from '../helpers/http.ts'
import { until } from '../helpers/until.ts'

const identity = (more: Partial<WorkerIdentity> = {}): WorkerIdentity => ({
  id: 'fake',
  host: 'rack-1',
  dataDir: '/data',
  version: '0.1.0',
  slots: 2,
  session: '11111111-1111-4111-8111-111111111111',
  ...more,
})
const OTHER = '22222222-2222-4222-8222-222222222222'

interface Told {
  drains: (number | undefined)[]
  unfit: string[]
}

async function givenPresence(
  { db, listener }: TestDatabase,
  more: Partial<WorkerIdentity> = {},
  onDrain?: (ms: number | undefined) => void,
) {
  const told: Told = { drains: [], unfit: [] }
  const presence = createPresence({
    db,
    listener,
    log: silent,
    worker: identity(more),
    onDrain(ms) {
      told.drains.push(ms)
      onDrain?.(ms)
    },
    onUnfit: (reason) => told.unfit.push(reason),
  })
  await presence.start()
  return { ...told, stop: presence.stop }
}

const poke = (db: Db) => db.raw(`select pg_notify('hypeman_workers', '')`)

async function playing(t: TestContext, api: TestApi) {
  const runs: FakeRun[] = []
  const worker = await givenWorker(t, api, async (run) => {
    runs.push(run)
    await aborted(run.signal)
  })
  const presence = await givenPresence(api, {}, (ms) =>
    ms === undefined ? worker.resume() : worker.drain(ms),
  )
  return {
    runs,
    async stop() {
      await worker.stop()
      await presence.stop()
    },
  }
}

test('a build that no worker will take does not just stand at position 1: it says why it waits', async (t) => {
  const { db, call, queue } = await givenApi(t)
  const { id } = await givenBuild(db)
  const shown = async () => (await bodyOf(await call(`/builds/${id}`))).queue_reason
  assert.equal(await shown(), 'no worker is running')
  const store = createWorkerStore({ db })
  await givenWorkerEntry(db)
  assert.equal(await shown(), undefined)
  await store.requestDrain('idle', 60)
  assert.equal(await queue.waitReason(), 'the workers are being drained')
  await givenWorkerEntry(db, 'other')
  assert.equal(await queue.waitReason(), undefined)
  await db('workers').update({ last_seen_at: db.raw(`now() - interval '1 minute'`) })
  assert.equal(await queue.waitReason(), 'no worker is running')
})

test('an operator sees workers and drains them: nothing is claimed, what runs is handed back, and taken again', async (t) => {
  const api = await givenApi(t)
  const { db, call } = api
  const token = await api.token({ sub: 'root', admin: true })
  const { runs, stop } = await playing(t, api)
  const { id } = await givenBuild(db)
  await until('the build to run', () => runs.length === 1)
  const [shown] = await bodyOf(await call('/admin/workers', { token }))
  assert.deepEqual(
    [shown.id, shown.host, shown.slots, shown.building, shown.status],
    ['fake', 'rack-1', 2, 1, 'ready'],
  )
  assert.deepEqual(await bodyOf(await call('/admin/drain', { token })), [])

  const drain = (query: string, method = 'POST') => call(`/admin/drain${query}`, { method, token })
  const asked = await drain('?worker=fake&timeout_seconds=600')
  assert.equal(asked.status, 202)
  assert.equal((await bodyOf(asked))[0].status, 'draining')
  const waiting = await givenBuild(db)
  // Asked again with less time, the running one is handed back.
  assert.equal((await drain('?timeout_seconds=0')).status, 202)
  const statusOf = async (build: string) => (await db('builds').where({ id: build }).first()).status
  await until('the build to be handed back', async () => (await statusOf(id)) === 'queued')
  assert.equal((await db('builds').where({ id }).first()).attempt, 0)
  assert.equal(await statusOf(waiting.id), 'queued')
  const [still] = await bodyOf(await call('/admin/drain', { token }))
  assert.deepEqual([still.id, still.building], ['fake', 0])

  assert.equal((await drain('', 'DELETE')).status, 200)
  await until('both builds to run', () => runs.length === 3)
  await stop()
  assert.deepEqual(await bodyOf(await call('/admin/workers', { token })), [])
})

test('only an operator may look at workers or drain them, and only those there are', async (t) => {
  const { call, token } = await givenApi(t)
  for (const permissions of [undefined, ['*'], ['build:admin', 'worker:write']]) {
    const plain = await token(permissions ? { permissions } : {})
    assert.equal((await call('/admin/workers', { token: plain })).status, 403)
    assert.equal((await call('/admin/drain', { method: 'POST', token: plain })).status, 403)
  }
  const operator = await token({ permissions: ['worker:admin'] })
  assert.equal((await call('/admin/workers', { token: operator })).status, 200)
  const gone = { method: 'POST', token: operator }
  assert.equal((await call('/admin/drain?worker=nobody', gone)).status, 404)
  assert.equal((await call('/admin/drain?timeout_seconds=-1', gone)).status, 400)
})

test('a worker that stops lets what runs end in time, and claims nothing meanwhile', async (t) => {
  const database = await givenDatabase(t)
  const runs: FakeRun[] = []
  let end = () => {}
  const finished = new Promise<void>((resolve) => {
    end = resolve
  })
  const worker = await givenWorker(t, database, async (run) => {
    runs.push(run)
    await finished
    await run.succeed()
  })
  const first = await givenBuild(database.db)
  await until('the build to run', () => runs.length === 1)
  const stopped = worker.stop(60_000)
  const second = await givenBuild(database.db)
  assert.equal(runs[0]?.signal.aborted, false)
  end()
  await stopped
  const row = await database.db('builds').where({ id: first.id }).first()
  assert.deepEqual([row.status, row.image_digest !== null], ['pushing', true])
  assert.equal(runs.length, 1)
  assert.equal((await database.db('builds').where({ id: second.id }).first()).status, 'queued')
})

test('a worker runs as many builds as it has slots, and one that only saves its builder takes none', async (t) => {
  const { db, listener } = await givenDatabase(t)
  await setSlots(db, 10)
  const ends: (() => void)[] = []
  const frees: (() => void)[] = []
  const worker = createWorker({
    db,
    listener,
    log: silent,
    name: 'small',
    slots: 2,
    run: (_, __, freed) => {
      frees.push(freed)
      return new Promise((resolve) => ends.push(resolve))
    },
  })
  await worker.start()
  for (let n = 0; n < 5; n += 1) await givenBuild(db)
  await until('two builds to run', () => ends.length === 2)
  const claimed = async () => (await db('builds').where({ status: 'building' })).length
  assert.equal(await claimed(), 2)
  frees[0]?.()
  await until('a third build to run', () => ends.length === 3)
  ends[0]?.()
  ends[1]?.()
  await until('a fourth build to run', () => ends.length === 4)
  assert.equal(await claimed(), 4)
  assert.equal(worker.runningCount, 2)
  for (const end of ends) end()
  await worker.stop()
})

test('guests that save their builders slowly do not pile up: a worker has at most as many of them as slots', async (t) => {
  const { db, listener } = await givenDatabase(t)
  await setSlots(db, 10)
  const ends: (() => void)[] = []
  const asked: number[] = []
  const worker = createWorker({
    db,
    listener,
    log: silent,
    name: 'slow',
    slots: 1,
    mayClaim: async () => asked.push(ends.length) > 0,
    run: (_, __, freed) => {
      freed()
      return new Promise((resolve) => ends.push(resolve))
    },
  })
  for (let n = 0; n < 4; n += 1) await givenBuild(db)
  await worker.start()
  await until('two builds', () => ends.length >= 2)
  ends[0]?.()
  await until('the third', () => ends.length === 3)
  assert.equal(worker.runningCount, 2)
  assert.deepEqual(asked, [0, 1, 2])
  for (const end of ends) end()
  await until('the fourth', () => ends.length === 4)
  ends[3]?.()
  await worker.stop()
})

test('two processes are never one worker: a copied data folder is refused, a restart is not', async (t) => {
  const database = await givenDatabase(t)
  const told = await givenPresence(database)
  await assert.rejects(givenPresence(database, { session: OTHER, host: 'rack-2' }), {
    code: 'conflict',
    message: /the worker fake runs already, .*remove its file worker-name/,
  })
  const store = createWorkerStore(database)
  // The same machine and folder: the one before has died.
  assert.equal(await store.register(identity({ session: OTHER })), true)
  await poke(database.db)
  await until('the worker to be told', () => told.unfit.length > 0)
  assert.match(told.unfit[0] ?? '', /another process is the worker fake now/)
  await told.stop()
  assert.deepEqual(
    (await store.list()).map(({ id }) => id),
    ['fake'],
  )
})

test('a worker that is not heard of is lost, and after a day forgotten', async (t) => {
  const database = await givenDatabase(t)
  const { db } = database
  const store = createWorkerStore(database)
  await store.register(identity({ id: 'old' }))
  await store.register(identity({ id: 'quiet' }))
  await store.register(identity({ id: 'well' }))
  await db('workers')
    .where({ id: 'quiet' })
    .update({ last_seen_at: db.raw(`now() - interval '1 min'`) })
  await db('workers')
    .where({ id: 'old' })
    .update({ last_seen_at: db.raw(`now() - interval '2 days'`) })
  await store.beat(identity({ id: 'well' }), 5_000)
  const listed = (await store.list()).map(({ id, isLost }) => [id, isLost])
  assert.deepEqual(listed, [
    ['quiet', true],
    ['well', false],
  ])
  assert.equal(
    await store.register(identity({ id: 'quiet', host: 'rack-9', session: OTHER })),
    true,
  )
})

test('a worker of another version than the database does not start', async (t) => {
  const { db } = await givenDatabase(t)
  await requireMigrated(db)
  await db('knex_migrations').insert({ name: '9999_next.js', batch: 9, migration_time: new Date() })
  await assert.rejects(requireMigrated(db), { code: 'version_skew', message: /9999_next\.js/ })
  await db('knex_migrations').delete()
  await assert.rejects(requireMigrated(db), {
    message: /is at empty, .*start the server of this version/,
  })
})
