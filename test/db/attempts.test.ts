// What is recorded of each attempt at a build: by whom, from when to when, how it ended.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { readEvents } from '../../server/builds/event-store.ts'
import { createBuildLog } from '../../server/builds/log.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { createQueue } from '../../server/queue/queue.ts'
import { reap } from '../../server/queue/reaper.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { DIGEST, PROVENANCE } from '../helpers/fake-worker.ts'
import { bodyOf } from '../helpers/http.ts'

async function givenQueue(t: TestContext) {
  const { db, listener } = await givenDatabase(t)
  await setSlots(db, 2)
  const store = createBuildStore({ db })
  const queue = createQueue({ db, store, buildLog: createBuildLog({ db, listener }) })
  const claim = async (worker: string) => {
    const build = await claimNext(db, worker)
    assert.ok(build)
    return createLease({ db, buildId: build.id, token: build.leaseToken })
  }
  const attempts = async (id: string) => {
    const found = await db('attempts').where({ build_id: id }).orderBy('id')
    for (const { claimed_at: from, ended_at: until } of found) assert.ok(!until || from <= until)
    return found.map(({ attempt, worker, outcome }) => [attempt, worker, outcome])
  }
  return { db, queue, claim, attempts }
}

test('each end of an attempt is recorded as what it was', async (t) => {
  const { db, queue, claim, attempts } = await givenQueue(t)
  const endOf = async (end: (lease: ReturnType<typeof createLease>) => Promise<unknown>) => {
    const { id } = await givenBuild(db)
    await end(await claim('w'))
    const recorded = await attempts(id)
    await queue.cancel(id)
    await reap({ db, log: silent, worker: 'w' })
    return recorded
  }
  assert.deepEqual(await endOf(async () => {}), [[1, 'w', null]])
  assert.deepEqual(await endOf((lease) => lease.requeue('it broke')), [[1, 'w', 'requeued']])
  assert.deepEqual(await endOf((lease) => lease.handBack()), [[1, 'w', 'handed_back']])
  const failure = { failureClass: 'build' as const, error: 'no' }
  assert.deepEqual(await endOf((lease) => lease.fail(failure)), [[1, 'w', 'failed']])
  assert.deepEqual(await endOf((lease) => lease.cancelled()), [[1, 'w', 'cancelled']])
  const built = await endOf(async (lease) => {
    await lease.markPushing()
    await lease.recordResult(DIGEST, PROVENANCE)
  })
  assert.deepEqual(built, [[1, 'w', 'built']])
})

test('the log of a build that was running and is queued again says why', async (t) => {
  const { db, claim } = await givenQueue(t)
  const { id } = await givenBuild(db)
  await (await claim('w0')).handBack()
  await claim('w1')
  await reap({ db, log: silent, worker: 'w1' })
  const told = (await readEvents(db, id, 0, 100)).map((event) =>
    event.type === 'log' ? event.line : event.type === 'status' ? event.status : event.type,
  )
  assert.deepEqual(told, [
    'queued',
    'building',
    'The worker of this build stops: queued again, to be built from the start',
    'queued',
    'building',
    'The worker of this build was not heard of any more: queued again',
    'queued',
  ])
})

test('of a build whose workers are lost each attempt is there, and none reaches into the next', async (t) => {
  const { db, claim, attempts } = await givenQueue(t)
  const { id } = await givenBuild(db)
  await (await claim('w0')).handBack()
  await claim('w1')
  await db('builds')
    .where({ id })
    .update({ lease_until: new Date(0) })
  await reap({ db, log: silent })
  await claim('w2')
  await reap({ db, log: silent, worker: 'w2' })
  const expected = [
    [1, 'w0', 'handed_back'],
    [1, 'w1', 'lost'],
    [2, 'w2', 'lost'],
  ]
  assert.deepEqual(await attempts(id), expected)
  const found = await db('attempts').where({ build_id: id }).orderBy('id')
  for (const [i, { claimed_at: from }] of found.slice(1).entries()) {
    assert.ok(found[i].ended_at <= from)
  }
  assert.equal((await db('builds').where({ id }).first()).failure_class, 'lost')
})

test('a build whose VM broke first and then its worker is not said to have lost that twice', async (t) => {
  const { db, claim } = await givenQueue(t)
  const { id } = await givenBuild(db)
  await (await claim('w1')).requeue('the build VM ended unexpectedly; once more in a new VM')
  await claim('w2')
  await reap({ db, log: silent, worker: 'w2' })
  const { failure_class: failureClass, error } = await db('builds').where({ id }).first()
  assert.equal(failureClass, 'lost')
  assert.equal(error, "the build's worker was lost in attempt 2, the last one")
})

test('a write without the lease ends no attempt', async (t) => {
  const { db, claim, attempts } = await givenQueue(t)
  const { id } = await givenBuild(db)
  const stale = await claim('w1')
  await reap({ db, log: silent, worker: 'w1' })
  await claim('w2')
  assert.equal(await stale.handBack(), false)
  const expected = [
    [1, 'w1', 'lost'],
    [2, 'w2', null],
  ]
  assert.deepEqual(await attempts(id), expected)
})

test('a build shows its attempts, and their workers to operators only', async (t) => {
  const { db, call, token } = await givenApi(t)
  await setSlots(db, 1)
  const { id } = await givenBuild(db)
  const shown = async (who?: string) =>
    (await bodyOf(await call(`/builds/${id}`, who ? { token: who } : {}))).attempts as Record<
      string,
      unknown
    >[]
  assert.equal(await shown(), undefined)
  await claimNext(db, 'host-7')
  const [running] = await shown()
  assert.deepEqual(Object.keys(running!), ['attempt', 'claimed_at'])
  await reap({ db, log: silent, worker: 'host-7' })
  const [lost] = await shown(await token({ sub: 'op', tenant: 'ops', admin: true }))
  assert.equal(lost?.outcome, 'lost')
  assert.equal(lost?.worker, 'host-7')
})
