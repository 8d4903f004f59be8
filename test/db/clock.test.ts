// Clocks that are set an hour forward or back: the database's, and that of the machine. What is under way goes on,
// what is dead does not live on, and nothing is let in that was let go.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { createRevocation } from '../../server/auth/revocation.ts'
import { createTokens } from '../../server/auth/tokens.ts'
import { createBuilderStore } from '../../server/builders/store.ts'
import { createBuildStore, hashLease } from '../../server/builds/store.ts'
import type { Db } from '../../server/db/pool.ts'
import { recordLowDisk, whyLowDisk } from '../../server/disk-guard/low-disks.ts'
import { LEASE_MS } from '../../server/limits.ts'
import { type ClaimedBuild, claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { createReapLoop } from '../../server/queue/reap-loop.ts'
import { reap } from '../../server/queue/reaper.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { noSecrets } from '../../server/secrets/provider.ts'
import { createDesk } from '../../server/workers/desk.ts'
import { createWorkerStore } from '../../server/workers/store.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { givenJumpingClock } from '../helpers/jumping-clock.ts'
import { until } from '../helpers/until.ts'

const HOUR = 3_600

const leaseOf = (db: Db, { id, leaseToken }: ClaimedBuild) =>
  createLease({ db, buildId: id, token: leaseToken })

const statusOf = async (db: Db, { id }: { id: string }): Promise<string> =>
  (await db('builds').where({ id }).first()).status

test('a database clock an hour ahead at once takes no living build from its worker, and a lost one still comes back', async (t) => {
  const { db, jump } = await givenJumpingClock(t)
  await setSlots(db, 2)
  await givenBuild(db)
  await givenBuild(db)
  const living = (await claimNext(db, 'living'))!
  const dead = (await claimNext(db, 'dead'))!
  let rounds = 0
  db.on('query', ({ sql }) => {
    if (sql.includes('as clock')) rounds += 1
  })
  const reaper = createReapLoop({ db, log: silent, intervalMs: 50, graceMs: 3_000 })
  reaper.start()
  try {
    await until('rounds of the reaper', () => rounds > 2)
    await jump(HOUR)
    const seen = rounds
    await until('more rounds of the reaper', () => rounds > seen + 3)
    assert.equal(await statusOf(db, dead), 'building')
    assert.equal((await leaseOf(db, living).heartbeat()).held, true)
    await until(
      'the build of the dead worker to be queued',
      async () => (await statusOf(db, dead)) === 'queued',
    )
    assert.equal(await statusOf(db, living), 'building')
  } finally {
    await reaper.stop()
  }
})

test('a reaper whose clock is set between its look and its statement goes by the look', async (t) => {
  const { db, jump } = await givenJumpingClock(t)
  await setSlots(db, 1)
  await givenBuild(db)
  const living = (await claimNext(db, 'living'))!
  const asOf = new Date()
  await jump(HOUR)
  assert.deepEqual(await reap({ db, log: silent, asOf }), [])
  assert.equal(await statusOf(db, living), 'building')
})

test('a database clock set back by an hour lets no dead lease live for that hour', async (t) => {
  const { db, jump } = await givenJumpingClock(t)
  await setSlots(db, 1)
  const builder = await createBuilderStore({ db }).insert(db, {
    tenant: 'acme',
    id: 'ci',
    diskSizeGb: 1,
  })
  await givenBuild(db, { builder: { key: builder!.key, id: 'ci', promotes: true } })
  const dead = (await claimNext(db, 'dead'))!
  await jump(-HOUR)
  assert.deepEqual(await reap({ db, log: silent }), [])
  await jump(LEASE_MS / 1_000 + 1)
  assert.deepEqual(await reap({ db, log: silent }), [dead.id])
  await jump(LEASE_MS / 1_000 + 1)
  assert.equal((await claimNext(db, 'other'))?.id, dead.id)
})

test('a builder whose worker is gone is left to others at once when the clock was set back', async (t) => {
  const { db, jump } = await givenJumpingClock(t)
  await setSlots(db, 1)
  const made = await createBuilderStore({ db }).insert(db, {
    tenant: 'acme',
    id: 'ci',
    diskSizeGb: 1,
  })
  const builder = { key: made!.key, id: 'ci', promotes: true }
  await db('builders').update({ generation: 'g1', generation_worker: 'gone' })
  const { id } = await givenBuild(db, { builder })
  assert.equal(await claimNext(db, 'other'), undefined)
  await jump(-HOUR)
  assert.equal((await claimNext(db, 'other'))?.id, id)
})

test('a build does not end before it began, although the clock was set back in between', async (t) => {
  const { db, jump } = await givenJumpingClock(t)
  await setSlots(db, 1)
  const { id } = await givenBuild(db)
  const build = (await claimNext(db, 'w'))!
  await jump(-HOUR)
  await leaseOf(db, build).fail({ failureClass: 'build', error: 'no' })
  const row = await db('builds').where({ id }).first()
  assert.ok(row.completed_at >= row.started_at, `${row.completed_at} < ${row.started_at}`)
  assert.ok(row.completed_at >= row.created_at)
})

test('a worker that died before the clock was set back is lost, and its disk is full no more', async (t) => {
  const { db, jump } = await givenJumpingClock(t)
  const store = createWorkerStore({ db })
  const worker = { host: 'rack', version: '1', slots: 1, session: randomUUID() }
  await store.register({ ...worker, id: 'dead', dataDir: '/dead' })
  await store.register({ ...worker, id: 'well', dataDir: '/well' })
  await recordLowDisk(db, 'dead', { freeBytes: 1, neededBytes: 2, isLow: true })
  assert.notEqual(await whyLowDisk(db), undefined)
  await jump(-HOUR)
  await store.beat({ ...worker, id: 'well', dataDir: '/well' }, 5_000)
  const lost = (await store.list()).map(({ id, isLost }) => [id, isLost])
  assert.deepEqual(Object.fromEntries(lost), { dead: true, well: false })
  assert.equal(await whyLowDisk(db), undefined)
  const elsewhere = { ...worker, id: 'dead', dataDir: '/else', session: randomUUID() }
  assert.equal(await store.register(elsewhere), true)
})

test('a token that was revoked stays so, whichever way a clock is set', async (t) => {
  const { db } = await givenDatabase(t)
  const { isRevoked, revoke } = createRevocation({ db })
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
  assert.equal(await isRevoked('j1'), false)
  t.mock.timers.setTime(Date.now() - HOUR * 1_000)
  await createRevocation({ db }).revoke('j1', new Date(Date.now() + 60_000))
  await until('the revocation to be known', () => isRevoked('j1'))
  // By the database's clock the token ended long ago; by the server's it may still be good.
  await db('revoked_tokens').update({ expires_at: db.raw(`now() - interval '1 hour'`) })
  await revoke('j2', 'infinity')
  assert.equal(await createRevocation({ db }).isRevoked('j1'), true)
})

test("a running build keeps its way into the registry when the machine's clock is set an hour ahead", async (t) => {
  const { db } = await givenDatabase(t)
  await setSlots(db, 1)
  await givenBuild(db)
  const build = (await claimNext(db, 'w'))!
  const tokens = createTokens({ secret: 'a secret of at least thirty-two characters' })
  const store = createBuildStore({ db })
  const desk = createDesk({ store, tokens, secrets: noSecrets, buildTimeoutSeconds: 600 })
  const leaseHash = hashLease(build.leaseToken)
  const { registryToken } = await desk.grant({ buildId: build.id, worker: 'w', leaseHash })
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() + HOUR * 1_000 })
  assert.equal((await tokens.verifyRegistry(registryToken)).buildId, build.id)
  // It is the lease that ends it.
  await leaseOf(db, build).fail({ failureClass: 'build', error: 'no' })
  assert.equal(await store.runsUnder(build.id, leaseHash), false)
})
