// Transactions that meet at the same rows: a push that supersedes a build, and whatever ends that build.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createBuilderStore } from '../../server/builders/store.ts'
import { lockQueue } from '../../server/builds/queue-room.ts'
import { endColumns, transition } from '../../server/builds/transitions.ts'
import { type Db, rows } from '../../server/db/pool.ts'
import { NO_OPTIONS } from '../../server/git/push-options.ts'
import { type ClaimedBuild, claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { reap } from '../../server/queue/reaper.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { silent } from '../helpers/database.ts'
import { DIGEST, PROVENANCE } from '../helpers/fake-worker.ts'
import { givenGitServer } from '../helpers/git-server.ts'
import { until } from '../helpers/until.ts'

/** Resolves when so many statements wait for a lock that another transaction has. */
const untilWaiting = (db: Db, count: number) =>
  until(`${count} statements wait for a lock`, async () => {
    const found = await rows(
      db,
      `select 1 from pg_stat_activity
       where datname = current_database() and wait_event_type = 'Lock'`,
    )
    return found.length >= count
  })

/** An app whose newest push has a build that a worker runs. */
async function givenRunning(t: TestContext) {
  const server = await givenGitServer(t)
  const { db } = server
  await setSlots(db, 2)
  const repo = await server.givenClient(t, 'web')
  await repo.push('-o', 'detach', 'hypeman', 'main')
  await db('apps').update({ settings: { supersede: 'running' } })
  const build = (await claimNext(db, 'w'))!
  return { server, repo, db, build }
}

const ENDS: Record<string, (db: Db, build: ClaimedBuild) => Promise<unknown>> = {
  fails: (db, { id, leaseToken: token }) =>
    createLease({ db, buildId: id, token }).fail({ failureClass: 'build', error: 'no' }),
  'is handed back': (db, { id, leaseToken: token }) =>
    createLease({ db, buildId: id, token }).handBack(),
  'is taken from a dead worker': (db) => reap({ db, log: silent, worker: 'w' }),
}

for (const [how, end] of Object.entries(ENDS)) {
  test(`a push that supersedes a build in the moment in which it ${how} is no deadlock`, async (t) => {
    const { server, repo, db, build } = await givenRunning(t)
    const app = await server.app('web')
    const oldSha = await repo.git('rev-parse', 'HEAD')
    // Its commit is there already, so that it can be taken in by hand.
    const newSha = await repo.commit('next')
    await repo.push('hypeman', 'main:side')
    const update = { oldSha, newSha, ref: 'refs/heads/main' }
    const holder = await db.transaction()
    await lockQueue(holder, 'acme')
    const pushed = server.intake.build({ app, update, pusher: 'ada', source: 'push' }, NO_OPTIONS)
    // It has the row of the app by now, and not yet that of the older build.
    await untilWaiting(db, 1)
    const ended = end(db, build)
    await Promise.race([ended, untilWaiting(db, 2)])
    await holder.commit()
    const [queued] = await Promise.all([pushed, ended])
    assert.equal(queued.build.status, 'queued')
    const older = (await server.builds()).find(({ id }) => id === build.id)!
    assert.notEqual(older.status, 'building')
  })
}

test('a builder that is removed while a build that had it becomes ready is no deadlock', async (t) => {
  const { db, build } = await givenRunning(t)
  const lease = createLease({ db, buildId: build.id, token: build.leaseToken })
  await lease.markPushing()
  await lease.recordResult(DIGEST, PROVENANCE)
  const store = createBuilderStore({ db })
  const builder = await db('builders').first()
  const set = { ...endColumns(db) }
  let ready: ReturnType<typeof transition> | undefined
  await db.transaction(async (removal) => {
    assert.ok(await store.lock(removal, 'acme', builder.id))
    ready = transition(db, { id: build.id, from: ['pushing'], to: 'ready', set })
    await Promise.race([ready, untilWaiting(db, 1)])
    await store.remove(removal, builder.key)
  })
  assert.equal((await ready)?.status, 'ready')
})
