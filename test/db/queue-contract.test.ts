// The queue's contract: what seed 000's BuildQueue and seed 004's job service promise, over real rows.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createBuildLog } from '../../server/builds/log.ts'
import { BuildStatus } from '../../server/builds/schema.ts'
import { createBuildStore, type NewBuild } from '../../server/builds/store.ts'
import { endColumns, NEXT, transition } from '../../server/builds/transitions.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { createQueue } from '../../server/queue/queue.ts'
import { reap } from '../../server/queue/reaper.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { DIGEST, givenWorker, PROVENANCE } from '../helpers/fake-worker.ts'

const LIMIT = { timeout: 180_000 }
const never = new AbortController().signal

const newBuild = (id: string, overrides: Partial<NewBuild> = {}): NewBuild => ({
  id,
  tenant: 'acme',
  pusher: 'ada',
  request: { build_args: { MODE: 'prod' } },
  tags: { team: 'web' },
  sourceKey: 'sources/none',
  sourceHash: `sha256:${'0'.repeat(64)}`,
  sourceBytes: 0,
  ...overrides,
})

async function givenQueue(t: TestContext) {
  const database = await givenDatabase(t)
  const { db, listener } = database
  const store = createBuildStore({ db })
  const buildLog = createBuildLog({ db, listener })
  const queue = createQueue({ db, store, buildLog })
  const claim = async () => {
    const build = await claimNext(db, 'w')
    assert.ok(build)
    return createLease({ db, buildId: build.id, token: build.leaseToken })
  }
  return { ...database, store, queue, claim }
}

test(
  'enqueue returns the position, and the same build again is no second one',
  LIMIT,
  async (t) => {
    const { db, queue, claim } = await givenQueue(t)
    assert.equal((await queue.enqueue(newBuild('builda'))).position, 1)
    assert.equal((await queue.enqueue(newBuild('buildb'))).position, 2)
    const again = await Promise.all(
      Array.from({ length: 8 }, () => queue.enqueue(newBuild('buildb', { pusher: 'bob' }))),
    )
    for (const { position, build } of again) {
      assert.equal(position, 2)
      assert.equal(build.pusher, 'ada')
    }
    assert.deepEqual(await queue.counts(), { active: 0, pending: 2, length: 2 })
    const events = await db('build_events').where({ build_id: 'buildb' })
    assert.equal(events.length, 1)
    await setSlots(db, 1)
    await claim()
    assert.equal((await queue.enqueue(newBuild('builda'))).position, 0)
    assert.equal(await queue.length(), 2)
  },
)

test('many who enqueue one build at once make one build', LIMIT, async (t) => {
  const { queue } = await givenQueue(t)
  const all = await Promise.all(
    Array.from({ length: 10 }, () => queue.enqueue(newBuild('same1234'))),
  )
  assert.deepEqual(new Set(all.map(({ position }) => position)), new Set([1]))
  assert.equal(await queue.length(), 1)
})

test('a build that has ended, or is another tenant’s, exists already', LIMIT, async (t) => {
  const { queue } = await givenQueue(t)
  await queue.enqueue(newBuild('builda'))
  const exists = { code: 'already_exists', status: 409 }
  await assert.rejects(queue.enqueue(newBuild('builda', { tenant: 'other' })), exists)
  await queue.cancel('builda')
  await assert.rejects(queue.enqueue(newBuild('builda')), exists)
})

test('enqueue in a transaction that fails leaves no phantom', LIMIT, async (t) => {
  const { db, queue, store } = await givenQueue(t)
  const failing = db.transaction(async (trx) => {
    assert.equal((await queue.enqueue(newBuild('builda'), trx)).position, 1)
    throw new Error('the queue is full')
  })
  await assert.rejects(failing, /full/)
  assert.equal(await store.get('builda'), undefined)
  assert.deepEqual(await queue.counts(), { active: 0, pending: 0, length: 0 })
  assert.equal((await db('build_events')).length, 0)
  assert.equal((await queue.enqueue(newBuild('builda'))).position, 1)
})

test(
  'a tenant’s full queue takes no more, leaves no phantom, and still knows what it has',
  LIMIT,
  async (t) => {
    const { db, listener } = await givenDatabase(t)
    const store = createBuildStore({ db, queuedMax: 2 })
    const queue = createQueue({ db, store, buildLog: createBuildLog({ db, listener }) })
    const all = await Promise.allSettled(
      ['builda', 'buildb', 'buildc', 'buildd'].map((id) => queue.enqueue(newBuild(id))),
    )
    const refused = all.flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []))
    assert.deepEqual(refused, ['queue_full', 'queue_full'])
    const [kept, ...more] = await db('builds').orderBy('created_at')
    assert.equal(more.length, 1)
    assert.deepEqual(await queue.counts(), { active: 0, pending: 2, length: 2 })
    assert.equal((await queue.enqueue(newBuild(kept.id))).position, 1)
    assert.equal((await queue.enqueue(newBuild('othera', { tenant: 'other' }))).position, 2)
    await queue.cancel(kept.id)
    assert.equal((await queue.enqueue(newBuild('builde'))).position, 3)
  },
)

test('position, isActive and the counts follow a build through its life', LIMIT, async (t) => {
  const { db, queue, claim } = await givenQueue(t)
  await setSlots(db, 1)
  for (const id of ['builda', 'buildb', 'buildc']) await queue.enqueue(newBuild(id))
  const lease = await claim()
  assert.equal(await queue.isActive('builda'), true)
  assert.equal(await queue.isActive('buildb'), false)
  assert.equal(await queue.position('builda'), undefined)
  assert.deepEqual([...(await queue.positions(['builda', 'buildb', 'buildc', 'none']))].sort(), [
    ['buildb', 1],
    ['buildc', 2],
  ])
  assert.deepEqual(await queue.counts(), { active: 1, pending: 2, length: 3 })
  assert.equal(await queue.active(), 1)
  assert.equal(await queue.pending(), 2)
  assert.equal(await queue.cancel('buildb'), 'cancelled')
  assert.equal(await queue.position('buildc'), 1)
  await lease.markPushing()
  await lease.recordResult(DIGEST, PROVENANCE)
  assert.equal(await queue.isActive('builda'), false)
  assert.deepEqual(await queue.counts(), { active: 0, pending: 1, length: 1 })
  await assert.rejects(queue.cancel('none1234'), { code: 'not_found' })
})

test(
  'markComplete frees the slot of a build that nobody runs, wakes the workers, and frees no other',
  LIMIT,
  async (t) => {
    const { db, listener, queue, claim } = await givenQueue(t)
    await setSlots(db, 1)
    await queue.enqueue(newBuild('builda'))
    await claim()
    await queue.markComplete('builda')
    assert.equal(await queue.isActive('builda'), true, 'its worker has it still')
    await db('builds').where({ id: 'builda' }).update({ lease_token: null })
    const woken = new Promise((resolve) => listener.on('hypeman_queue', resolve))
    await queue.markComplete('builda')
    await woken
    assert.equal(await queue.isActive('builda'), false)
    await queue.markComplete('builda')
  },
)

test('the end of one build starts the next', LIMIT, async (t) => {
  const { db, listener, url, queue } = await givenQueue(t)
  const order: string[] = []
  await givenWorker(
    t,
    { db, listener, url },
    async ({ build, lease }) => {
      order.push(build.id)
      await lease.fail({ failureClass: 'build', error: 'x' })
    },
    { slots: 1 },
  )
  const ids = ['builda', 'buildb', 'buildc']
  for (const id of ids) await queue.enqueue(newBuild(id))
  for (const id of ids) assert.equal((await queue.waitDone(id, never)).status, 'failed')
  assert.deepEqual(order, ids)
})

test(
  'recovery puts what a dead worker ran back in the order in which it was queued',
  LIMIT,
  async (t) => {
    const { db, queue, claim } = await givenQueue(t)
    await setSlots(db, 3)
    const ids = ['builda', 'buildb', 'buildc', 'buildd']
    for (const id of ids) await queue.enqueue(newBuild(id))
    for (let i = 0; i < 3; i += 1) await claim()
    assert.deepEqual(await reap({ db, log: silent, worker: 'w' }), ids.slice(0, 3))
    assert.deepEqual(await queue.counts(), { active: 0, pending: 4, length: 4 })
    assert.deepEqual(
      [...(await queue.positions(ids))].sort(),
      ids.map((id, i) => [id, i + 1]),
    )
    const claimed = [await claim(), await claim(), await claim()].map(({ buildId }) => buildId)
    assert.deepEqual(claimed, ids.slice(0, 3))
  },
)

test(
  'waitDone gives the build as it ended, to all who wait, at once when it has ended',
  LIMIT,
  async (t) => {
    const { db, queue } = await givenQueue(t)
    await queue.enqueue(newBuild('builda'))
    const waiting = Array.from({ length: 20 }, () =>
      queue.waitDone('builda', new AbortController().signal),
    )
    const set = { ...endColumns(db), failure_class: 'source', error: 'no Dockerfile' }
    await transition(db, { id: 'builda', from: ['queued'], to: 'failed', set })
    for (const ended of await Promise.all(waiting)) assert.equal(ended.error, 'no Dockerfile')
    assert.equal((await queue.waitDone('builda', never)).status, 'failed')
    await assert.rejects(queue.waitDone('none1234', never), { code: 'not_found' })
  },
)

test('waitDone ends with its caller’s signal and leaves the build alone', LIMIT, async (t) => {
  const { queue, store } = await givenQueue(t)
  await queue.enqueue(newBuild('builda'))
  const abort = new AbortController()
  const waiting = queue.waitDone('builda', abort.signal)
  abort.abort(new Error('no longer interested'))
  await assert.rejects(waiting, /no longer interested/)
  assert.equal((await store.get('builda'))?.status, 'queued')
})

test('a snapshot is its caller’s own: what is done to it reaches nobody', LIMIT, async (t) => {
  const { queue, store } = await givenQueue(t)
  const given = newBuild('builda')
  const { build } = await queue.enqueue(given)
  given.request.build_args!.MODE = 'changed before'
  build.status = 'ready'
  build.tags.team = 'changed after'
  const snapshot = (await store.get('builda'))!
  assert.equal(snapshot.status, 'queued')
  assert.deepEqual(snapshot.tags, { team: 'web' })
  assert.deepEqual(snapshot.request.build_args, { MODE: 'prod' })
  snapshot.request.build_args!.MODE = 'changed too'
  assert.deepEqual((await store.get('builda'))?.request.build_args, { MODE: 'prod' })
})

test('every transition that the table does not have is refused', LIMIT, async (t) => {
  const { db, queue } = await givenQueue(t)
  await queue.enqueue(newBuild('builda'))
  for (const from of BuildStatus.options) {
    for (const to of BuildStatus.options) {
      if (NEXT[from].includes(to)) continue
      await assert.rejects(transition(db, { id: 'builda', from: [from], to }), TypeError)
    }
  }
  // Allowed by the table, but the build is in another status.
  assert.equal(await transition(db, { id: 'builda', from: ['building'], to: 'pushing' }), undefined)
})
