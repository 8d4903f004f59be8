// One build at a time for each builder, decided by the claim; the rest of the queue goes on.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createBuilderStore } from '../../server/builders/store.ts'
import type { Db } from '../../server/db/pool.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { queuePositions } from '../../server/queue/position.ts'
import { reap } from '../../server/queue/reaper.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase, silent } from '../helpers/database.ts'

async function givenBuilder(db: Db, id = 'ci') {
  const made = await createBuilderStore({ db }).insert(db, { tenant: 'acme', id, diskSizeGb: 1 })
  return { key: made!.key, id, promotes: true }
}

async function givenQueue(t: TestContext, slots: number) {
  const { db } = await givenDatabase(t)
  await setSlots(db, slots)
  return { db, builder: await givenBuilder(db) }
}

const leaseOf = (db: Db, build: { id: string; leaseToken: string }) =>
  createLease({ db, buildId: build.id, token: build.leaseToken })

test('a build whose builder is busy is passed over, holds no slot and keeps its place', async (t) => {
  const { db, builder } = await givenQueue(t, 2)
  const first = await givenBuild(db, { builder })
  const second = await givenBuild(db, { builder })
  const free = await givenBuild(db)
  const claimed = await claimNext(db, 'w')
  assert.equal(claimed?.id, first.id)
  assert.equal((await claimNext(db, 'w'))?.id, free.id)
  assert.equal((await queuePositions(db, [second.id])).get(second.id), 1)
  assert.equal(await claimNext(db, 'w'), undefined)
  await leaseOf(db, claimed!).fail({ failureClass: 'build', error: 'no' })
  assert.equal((await claimNext(db, 'w'))?.id, second.id)
})

test('a burst of claims never gives one builder two builds, and leaves no slot unused', async (t) => {
  const { db, builder } = await givenQueue(t, 8)
  const other = await givenBuilder(db, 'other')
  for (let i = 0; i < 5; i += 1) await givenBuild(db, { builder })
  for (let i = 0; i < 5; i += 1) await givenBuild(db, { builder: other })
  for (let i = 0; i < 3; i += 1) await givenBuild(db)
  const claims = await Promise.all(Array.from({ length: 16 }, (_, i) => claimNext(db, `w${i}`)))
  for (let i = 0; i < 5; i += 1) claims.push(await claimNext(db, 'late'))
  const keys = claims.flatMap((build) => (build ? [build.builderKey ?? 'none'] : []))
  assert.deepEqual(keys.sort(), [builder.key, other.key, 'none', 'none', 'none'].sort())
  const taken = await db('slots').whereNotNull('build_id')
  assert.equal(taken.length, 5)
})

test('a builder is free again when its worker is lost, and the build gets it back', async (t) => {
  const { db, builder } = await givenQueue(t, 1)
  const { id } = await givenBuild(db, { builder })
  await claimNext(db, 'me')
  await reap({ db, log: silent, worker: 'me' })
  assert.equal((await claimNext(db, 'me'))?.id, id)
})

test('a lease that is older than its first term still holds the builder while it is renewed', async (t) => {
  const { db, builder } = await givenQueue(t, 2)
  const { id } = await givenBuild(db, { builder })
  await givenBuild(db, { builder })
  const claimed = await claimNext(db, 'w')
  await db('builders').update({ lease_until: db.raw(`now() - interval '1 s'`) })
  assert.equal(await claimNext(db, 'w'), undefined)
  await db('builds')
    .where({ id })
    .update({ lease_until: db.raw(`now() - interval '1 s'`) })
  await reap({ db, log: silent })
  assert.ok(await claimNext(db, 'w'))
  assert.equal((await leaseOf(db, claimed!).heartbeat()).held, false)
})
