// Whose build is next: turns among tenants, order and priorities within one, limits for each, and positions that
// say what the claim will do.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Db } from '../../server/db/pool.ts'
import { PRIORITY_ADMIN_MAX } from '../../server/limits.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { queuePositions } from '../../server/queue/position.ts'
import { setQueueLimits, setSlots } from '../../server/queue/slots.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase } from '../helpers/database.ts'

async function givenQueue(t: TestContext, slots: number) {
  const { db } = await givenDatabase(t)
  await setSlots(db, slots)
  const add = async (tenant: string, count = 1, priority = 0) => {
    const ids: string[] = []
    for (let i = 0; i < count; i += 1) ids.push((await givenBuild(db, { tenant, priority })).id)
    return ids
  }
  return { db, add }
}

async function claimed(db: Db) {
  const build = await claimNext(db, 'w')
  assert.ok(build)
  const lease = createLease({ db, buildId: build.id, token: build.leaseToken })
  const end = () => lease.fail({ failureClass: 'build', error: 'no' })
  return { build, end }
}

/** Claims to the last one, each ended before the next when there is one slot only. */
async function tenantsServed(db: Db, count: number, { ending = false } = {}): Promise<string[]> {
  const served: string[] = []
  for (let i = 0; i < count; i += 1) {
    const { build, end } = await claimed(db)
    served.push(build.tenant)
    if (ending) await end()
  }
  return served
}

async function inPositionOrder(db: Db): Promise<string[]> {
  const queued = (await db('builds').where({ status: 'queued' }).select('id')).map(({ id }) => id)
  const positions = await queuePositions(db, queued)
  assert.deepEqual(
    [...positions.values()].sort((a, b) => a - b),
    queued.map((_, i) => i + 1),
    'every place is taken once',
  )
  return queued.sort((a, b) => positions.get(a)! - positions.get(b)!)
}

test('a tenant with many builds does not keep one with a single build waiting, even with one slot', async (t) => {
  const { db, add } = await givenQueue(t, 1)
  await add('many', 40)
  for (let i = 0; i < 5; i += 1) await (await claimed(db)).end()
  const [single] = await add('single')
  const position = (await queuePositions(db, [single!])).get(single!)
  assert.ok(position! <= 2, `position ${position}`)
  const served = await tenantsServed(db, 2, { ending: true })
  assert.ok(served.includes('single'), served.join())
})

test('tenants with builds in the queue take turns, whatever they have had before', async (t) => {
  const { db, add } = await givenQueue(t, 1)
  await add('early', 12)
  await tenantsServed(db, 6, { ending: true })
  await add('late', 6)
  const served = await tenantsServed(db, 12, { ending: true })
  for (let i = 0; i < 12; i += 2) {
    assert.deepEqual(new Set(served.slice(i, i + 2)), new Set(['early', 'late']), served.join())
  }
})

test('who has fewer builds running is served first', async (t) => {
  const { db, add } = await givenQueue(t, 4)
  await add('busy', 6)
  await tenantsServed(db, 2)
  await add('idle', 3)
  assert.deepEqual(await tenantsServed(db, 2), ['idle', 'idle'])
})

test('the builds of a tenant are claimed as they were queued, those with a higher priority before', async (t) => {
  const { db, add } = await givenQueue(t, 9)
  const [a, b] = await add('acme', 2)
  const [low] = await add('acme', 1, -10)
  const [high] = await add('acme', 1, 10)
  const order: string[] = []
  for (let i = 0; i < 4; i += 1) order.push((await claimed(db)).build.id)
  assert.deepEqual(order, [high, a, b, low])
})

test('a priority reorders the builds of its own tenant only, and an admin’s those of all', async (t) => {
  const { db, add } = await givenQueue(t, 9)
  const [first] = await add('acme')
  const [pushy] = await add('other', 1, 10)
  const [urgent] = await add('third', 1, PRIORITY_ADMIN_MAX)
  assert.deepEqual(await inPositionOrder(db), [urgent, first, pushy])
  const order: string[] = []
  for (let i = 0; i < 3; i += 1) order.push((await claimed(db)).build.id)
  assert.deepEqual(order, [urgent, first, pushy])
})

test('positions are the order in which builds are claimed as long as nothing else happens', async (t) => {
  const { db, add } = await givenQueue(t, 60)
  await add('one', 9)
  await add('two', 4)
  await tenantsServed(db, 5)
  await add('three', 6)
  await add('two', 3, 5)
  await add('four', 1, 15)
  await add('one', 2, 12)
  await add('five', 5, -3)
  const expected = await inPositionOrder(db)
  for (const [n, id] of expected.entries()) {
    assert.deepEqual(await inPositionOrder(db), expected.slice(n))
    assert.equal((await claimed(db)).build.id, id, `claim ${n}`)
  }
})

test('a tenant runs no more builds at once than its limit, and the others go on', async (t) => {
  const { db, add } = await givenQueue(t, 10)
  await setQueueLimits(db, { runningPerTenant: 2 })
  await add('acme', 5)
  await add('other', 1)
  const claims = await Promise.all(Array.from({ length: 16 }, (_, i) => claimNext(db, `w${i}`)))
  const tenants = claims.flatMap((build) => (build ? [build.tenant] : [])).sort()
  assert.deepEqual(tenants, ['acme', 'acme', 'other'])
  await setQueueLimits(db, { runningPerTenant: 3 })
  assert.equal((await claimed(db)).build.tenant, 'acme')
  assert.equal(await claimNext(db, 'w'), undefined)
  await setQueueLimits(db, { runningPerTenant: undefined })
  await tenantsServed(db, 2)
})

test('many workers that claim at once take all that may run, also of a single tenant', async (t) => {
  const { db, add } = await givenQueue(t, 12)
  await add('acme', 12)
  const claims = await Promise.all(Array.from({ length: 12 }, (_, i) => claimNext(db, `w${i}`)))
  const ids = claims.flatMap((build) => (build ? [build.id] : []))
  assert.equal(new Set(ids).size, 12)
})

test('a claim writes the events of the build with it, and the attempt of a second one', async (t) => {
  const { db, add } = await givenQueue(t, 1)
  const [id] = await add('acme')
  const { build } = await claimed(db)
  await createLease({ db, buildId: id!, token: build.leaseToken }).requeue('once more')
  await claimed(db)
  const events = await db('build_events').where({ build_id: id }).orderBy('seq')
  assert.deepEqual(
    events.map(({ seq, type, content }) => [seq, type, type === 'status' ? content : undefined]),
    [
      [1, 'status', 'queued'],
      [2, 'status', 'building'],
      [3, 'log', undefined],
      [4, 'status', 'queued'],
      [5, 'attempt', undefined],
      [6, 'status', 'building'],
    ],
  )
})

test('a claim that is not committed yet counts already, for the limit of its tenant and for the slots', async (t) => {
  const { db, add } = await givenQueue(t, 2)
  await setQueueLimits(db, { runningPerTenant: 1 })
  await add('acme', 2)
  await add('other', 2)
  await setSlots(db, 4)
  const { late } = await db.transaction(async (trx) => {
    assert.equal((await claimNext(trx, 'w1'))?.tenant, 'acme')
    assert.equal((await claimNext(db, 'w2'))?.tenant, 'other')
    const asking = Promise.all([claimNext(db, 'w3'), claimNext(db, 'w4')])
    await sleep(50)
    return { late: asking }
  })
  assert.deepEqual(await late, [undefined, undefined])
  const running = await db('builds').where({ status: 'building' }).orderBy('tenant')
  assert.deepEqual(
    running.map(({ tenant }) => tenant),
    ['acme', 'other'],
  )
})

test('a worker that meets others at every tenant claims once they are done, not a second later', async (t) => {
  const { db, add } = await givenQueue(t, 2)
  const [, second] = await add('acme', 2)
  const { waiting } = await db.transaction(async (trx) => {
    await claimNext(trx, 'w1')
    const asking = claimNext(db, 'w2')
    await sleep(15)
    return { waiting: asking }
  })
  assert.equal((await waiting)?.id, second)
})
