// The queue over real rows: slots, claim, lease, reaper.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readEvents } from '../../server/builds/event-store.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { endColumns, transition } from '../../server/builds/transitions.ts'
import type { Db } from '../../server/db/pool.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { queuePositions } from '../../server/queue/position.ts'
import { reap } from '../../server/queue/reaper.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { createWorker } from '../../server/queue/worker.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { until } from '../helpers/until.ts'

async function claimed(db: Db) {
  const build = await claimNext(db, 'w1')
  assert.ok(build)
  return { build, lease: createLease({ db, buildId: build.id, token: build.leaseToken }) }
}

const expire = (db: Db, id: string) =>
  db('builds')
    .where({ id })
    .update({ lease_until: db.raw(`now() - interval '1 s'`) })

async function statuses(db: Db, id: string): Promise<string[]> {
  const events = await readEvents(db, id, 0, 1000)
  return events.flatMap((event) => (event.type === 'status' ? [event.status] : []))
}

test('a burst of claims from many workers never exceeds the slots and takes no build twice', async (t) => {
  const { db } = await givenDatabase(t)
  await setSlots(db, 3)
  for (let i = 0; i < 12; i += 1) await givenBuild(db)
  const claims = await Promise.all(Array.from({ length: 24 }, (_, i) => claimNext(db, `w${i}`)))
  const ids = claims.flatMap((build) => (build ? [build.id] : []))
  assert.equal(new Set(ids).size, ids.length)
  // SKIP LOCKED may make a claimer miss a slot that another one only looked at; a poll later it is taken.
  for (let i = 0; i < 3; i += 1) {
    const more = await claimNext(db, 'late')
    if (more) ids.push(more.id)
  }
  assert.equal(new Set(ids).size, 3)
  assert.equal(ids.length, 3)
})

test('builds are claimed in the order in which they were queued, and the position says so', async (t) => {
  const { db } = await givenDatabase(t)
  await setSlots(db, 1)
  const first = await givenBuild(db)
  const second = await givenBuild(db)
  const position = async (id: string) => (await queuePositions(db, [id])).get(id)
  assert.equal(await position(first.id), 1)
  assert.equal(await position(second.id), 2)
  assert.equal((await claimNext(db, 'w'))?.id, first.id)
  assert.equal(await position(first.id), undefined)
  assert.equal(await position(second.id), 1)
  assert.equal(await claimNext(db, 'w'), undefined)
})

test('a slot is free again when its build ends, and only then', async (t) => {
  const { db } = await givenDatabase(t)
  await setSlots(db, 1)
  await givenBuild(db)
  const next = await givenBuild(db)
  const { lease } = await claimed(db)
  assert.equal(await claimNext(db, 'w2'), undefined)
  assert.equal(await lease.fail({ failureClass: 'build', error: 'step 1/1 exited 1' }), true)
  assert.equal((await claimNext(db, 'w2'))?.id, next.id)
})

test('a worker whose lease is gone can write nothing any more', async (t) => {
  const { db } = await givenDatabase(t)
  await setSlots(db, 1)
  await givenBuild(db)
  const { build, lease } = await claimed(db)
  await expire(db, build.id)
  assert.deepEqual(await reap({ db, log: silent }), [build.id])
  assert.equal((await lease.heartbeat()).held, false)
  assert.equal(await lease.append([{ type: 'log', line: 'ghost' }]), false)
  assert.equal(await lease.markPushing(), false)
  assert.equal(await lease.fail({ failureClass: 'build', error: 'ghost' }), false)
  assert.equal(await lease.cancelled(), false)
  const events = await readEvents(db, build.id, 0, 1000)
  const lines = events.flatMap((event) => (event.type === 'log' ? [event.line] : []))
  assert.deepEqual(lines, ['The worker of this build was not heard of any more: queued again'])
  assert.equal((await createBuildStore({ db }).get(build.id))?.status, 'queued')
})

test('a lost build is requeued once with its attempt counted, then fails with class lost', async (t) => {
  const { db } = await givenDatabase(t)
  await setSlots(db, 1)
  const { id } = await givenBuild(db)
  for (const attempt of [1, 2]) {
    const { build } = await claimed(db)
    assert.equal(build.attempt, attempt)
    await expire(db, id)
    await reap({ db, log: silent })
  }
  const row = await createBuildStore({ db }).get(id)
  assert.equal(row?.status, 'failed')
  assert.equal(row?.failureClass, 'lost')
  assert.ok(row?.completedAt)
  assert.deepEqual(await statuses(db, id), ['queued', 'building', 'queued', 'building', 'failed'])
  assert.equal(await claimNext(db, 'w'), undefined)
})

test('a worker that starts again takes back its own builds at once, and nobody else’s', async (t) => {
  const { db } = await givenDatabase(t)
  await setSlots(db, 2)
  const mine = await givenBuild(db)
  const theirs = await givenBuild(db)
  await claimNext(db, 'me')
  await claimNext(db, 'other')
  assert.deepEqual(await reap({ db, log: silent, worker: 'me' }), [mine.id])
  assert.equal((await createBuildStore({ db }).get(theirs.id))?.status, 'building')
})

test('a build handed back on shutdown keeps its attempts', async (t) => {
  const { db } = await givenDatabase(t)
  await setSlots(db, 1)
  await givenBuild(db)
  const { lease } = await claimed(db)
  assert.equal(await lease.handBack(), true)
  const again = await claimed(db)
  assert.equal(again.build.attempt, 1)
})

test('a recorded result beats a later cancel, and a requested cancel beats the result', async (t) => {
  const { db } = await givenDatabase(t)
  await setSlots(db, 2)
  const provenance = { source_hash: 'sha256:0', buildkit_version: 'v0', timestamp: 'now' }
  const digest = `sha256:${'a'.repeat(64)}`
  await givenBuild(db)
  const winner = await claimed(db)
  await winner.lease.markPushing()
  assert.equal(await winner.lease.recordResult(digest, provenance), true)
  assert.equal(await winner.lease.cancelled(), false)

  await givenBuild(db)
  const loser = await claimed(db)
  await loser.lease.markPushing()
  await db('builds').where({ id: loser.build.id }).update({ cancel_requested_at: db.fn.now() })
  assert.equal((await loser.lease.heartbeat()).cancelRequested, true)
  assert.equal(await loser.lease.recordResult(digest, provenance), false)
  assert.equal(await loser.lease.cancelled(), true)
})

test('a finished build never changes again', async (t) => {
  const { db } = await givenDatabase(t)
  const { id } = await givenBuild(db)
  const set = endColumns(db)
  assert.ok(await transition(db, { id, from: ['queued'], to: 'cancelled', set }))
  assert.equal(await transition(db, { id, from: ['queued'], to: 'building' }), undefined)
  await assert.rejects(transition(db, { id, from: ['cancelled'], to: 'queued' }), TypeError)
})

test('an idle worker is woken by a commit, runs as many builds as there are slots, and the next when one ends', async (t) => {
  const { db, listener } = await givenDatabase(t)
  await setSlots(db, 2)
  const starts = new Set<string>()
  const release = deferred()
  const worker = createWorker({
    db,
    listener,
    log: silent,
    name: 'w',
    run: async (build, drain) => {
      starts.add(build.id)
      await Promise.race([
        release.promise,
        new Promise((resolve) => drain.addEventListener('abort', resolve, { once: true })),
      ])
      const lease = createLease({ db, buildId: build.id, token: build.leaseToken })
      await lease.fail({ failureClass: 'build', error: 'test' })
    },
  })
  await worker.start()
  t.after(() => worker.stop())
  const told = new Promise((resolve) => listener.on('hypeman_queue', resolve))
  const builds = [await givenBuild(db), await givenBuild(db), await givenBuild(db)]
  await told
  await until('two builds run', () => starts.size === 2)
  assert.deepEqual([...starts], [builds[0]!.id, builds[1]!.id])
  assert.equal((await queuePositions(db, [builds[2]!.id])).get(builds[2]!.id), 1)
  release.resolve(undefined)
  await until('the third build runs', () => starts.has(builds[2]!.id))
})

function deferred() {
  let resolve: (value: unknown) => void = () => {}
  const promise = new Promise((done) => {
    resolve = done
  })
  return { promise, resolve }
}
