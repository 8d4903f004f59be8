// A newer push of a branch cancels older builds of it where the app says so; and what waits too long fails.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { readEvents } from '../../server/builds/event-store.ts'
import { toPublic } from '../../server/builds/show.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { endingLines } from '../../server/git/transcript-ending.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { reap } from '../../server/queue/reaper.ts'
import { setQueueLimits, setSlots } from '../../server/queue/slots.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { DIGEST, PROVENANCE } from '../helpers/fake-worker.ts'
import { givenPush, givenPushedApp } from '../helpers/pushes.ts'

async function givenApp(t: TestContext) {
  const { db } = await givenDatabase(t)
  const app = await givenPushedApp(db)
  await setSlots(db, 4)
  const get = async (id: string) => (await createBuildStore({ db }).get(id))!
  const claim = async () => {
    const build = (await claimNext(db, 'w'))!
    return { build, lease: createLease({ db, buildId: build.id, token: build.leaseToken }) }
  }
  return { db, app, get, claim }
}

test('a queued build is cancelled by a newer push of its branch, and everybody is told by which', async (t) => {
  const { db, app, get } = await givenApp(t)
  const older = await givenPush(db, app, { which: 'queued' })
  const newer = await givenPush(db, app, { which: 'queued' })
  const ended = await get(older.id)
  assert.equal(ended.status, 'cancelled')
  const shown = toPublic(ended, 'registry.test')
  assert.equal(shown.superseded_by, newer.id)
  const context = { failed: undefined, links: { baseUrl: 'http://x' }, gatedBranch: undefined }
  assert.match(endingLines(shown, context).join(), new RegExp(`superseded by build ${newer.id}`))
  const events = await readEvents(db, older.id, 0, 100)
  const last = events.filter((event) => event.type === 'log').at(-1)
  assert.equal(last?.line, `superseded by build ${newer.id} of a newer push to refs/heads/main`)
  assert.equal((await get(newer.id)).status, 'queued')
})

test('nothing is superseded unless the app says so', async (t) => {
  const { db, app, get } = await givenApp(t)
  const older = await givenPush(db, app)
  await givenPush(db, app)
  assert.equal((await get(older.id)).status, 'queued')
})

test('other branches, other apps and builds that no push has made are left alone', async (t) => {
  const { db, app, get } = await givenApp(t)
  const ref = 'refs/heads/main'
  const spared = [
    await givenPush(db, app, { ref: 'refs/heads/next' }),
    await givenPush(db, await givenPushedApp(db, 'api')),
    await givenBuild(db, { appId: app.id, app: 'web', ref }),
  ]
  await givenPush(db, app, { which: 'running' })
  for (const { id } of spared) assert.equal((await get(id)).status, 'queued')
})

test('a running build goes on when only queued ones are superseded, and is stopped when running ones are', async (t) => {
  const { db, app, get, claim } = await givenApp(t)
  await givenPush(db, app)
  const { build, lease } = await claim()
  await givenPush(db, app, { which: 'queued' })
  assert.equal((await lease.heartbeat()).cancelRequested, false)
  const newest = await givenPush(db, app, { which: 'running' })
  assert.equal((await lease.heartbeat()).cancelRequested, true)
  await lease.markPushing()
  assert.equal(await lease.recordResult(DIGEST, PROVENANCE), false)
  await lease.cancelled()
  const ended = toPublic(await get(build.id), 'registry.test')
  assert.equal(ended.superseded_by, newest.id)
  const events = await readEvents(db, build.id, 0, 100)
  assert.match(JSON.stringify(events.at(-2)), /superseded by build/)
})

test('a build whose image is there already is not superseded any more', async (t) => {
  const { db, app, get, claim } = await givenApp(t)
  await givenPush(db, app)
  const { build, lease } = await claim()
  await lease.markPushing()
  await lease.recordResult(DIGEST, PROVENANCE)
  await givenPush(db, app, { which: 'running' })
  const row = await get(build.id)
  assert.equal(row.status, 'pushing')
  assert.equal(row.supersededBy, undefined)
})

test('many pushes of one branch at once leave the newest alone, and none waits for another for ever', async (t) => {
  const { db, app } = await givenApp(t)
  await Promise.all(Array.from({ length: 12 }, () => givenPush(db, app, { which: 'queued' })))
  const left = await db('builds').join('pushes', 'pushes.id', 'push_id').where({ status: 'queued' })
  const [newest] = await db('pushes').orderBy('seq', 'desc').limit(1)
  assert.deepEqual(
    left.map(({ seq }) => seq),
    [newest.seq],
  )
})

test('a build that no worker takes for too long fails and says why; one that was handed back waits anew', async (t) => {
  const { db, get, claim } = await givenApp(t)
  await setQueueLimits(db, { ttlHours: 2 })
  const stale = await givenBuild(db)
  const fresh = await givenBuild(db)
  const old = { queued_at: db.raw(`clock_timestamp() - interval '121 minutes'`) }
  await db('builds').where({ id: stale.id }).update(old)
  await reap({ db, log: silent })
  const failed = await get(stale.id)
  assert.equal(failed.status, 'failed')
  assert.equal(failed.failureClass, 'infra')
  assert.match(failed.error ?? '', /no worker took the build within 2 h/)
  const { lease } = await claim()
  await db('builds').where({ id: fresh.id }).update(old)
  await lease.handBack()
  await reap({ db, log: silent })
  assert.equal((await get(fresh.id)).status, 'queued')
})
