// Cancelling in every state, and against everything that may happen at the same moment.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createBuilds } from '../../server/builds/service.ts'
import { createBuildStore, hashLease } from '../../server/builds/store.ts'
import type { Db } from '../../server/db/pool.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { reap } from '../../server/queue/reaper.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenApi, type TestApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { silent } from '../helpers/database.ts'
import { aborted, DIGEST, givenWorker, PROVENANCE } from '../helpers/fake-worker.ts'
import { framesOf } from '../helpers/frames.ts'
import { bodyOf } from '../helpers/http.ts'

const LIMIT = { timeout: 180_000 }

const cancel = (api: TestApi, id: string) => api.call(`/builds/${id}`, { method: 'DELETE' })

const untilStatus = (api: TestApi, id: string, status: string) =>
  api.call(`/builds/${id}/events?follow=true`).then(async (reply) => {
    for await (const part of reply.body!) {
      if (Buffer.from(part).toString().includes(`"status":"${status}"`)) return
    }
  })

async function claim(db: Db) {
  const build = await claimNext(db, 'w')
  assert.ok(build)
  return { build, lease: createLease({ db, buildId: build.id, token: build.leaseToken }) }
}

test(
  'weakness 12: a build cancelled while queued has completed_at and duration, and never runs',
  LIMIT,
  async (t) => {
    const api = await givenApi(t)
    const { id } = await givenBuild(api.db)
    assert.equal((await cancel(api, id)).status, 204)
    const build = await bodyOf(await api.call(`/builds/${id}`))
    assert.equal(build.status, 'cancelled')
    assert.equal(build.started_at, undefined)
    assert.equal(build.duration_ms, Date.parse(build.completed_at) - Date.parse(build.created_at))
    const next = await givenBuild(api.db)
    await setSlots(api.db, 1)
    assert.equal((await claim(api.db)).build.id, next.id)
  },
)

test(
  'weakness 12: a running build is cancelled when its machine is gone, and only then it is said',
  LIMIT,
  async (t) => {
    const api = await givenApi(t)
    const { id } = await givenBuild(api.db)
    let isGone = false
    await givenWorker(t, api, async ({ say, signal }) => {
      await say('working')
      await aborted(signal)
      assert.equal((await bodyOf(await api.call(`/builds/${id}`))).status, 'building')
      isGone = true
    })
    await untilStatus(api, id, 'building')
    const replies = await Promise.all([cancel(api, id), cancel(api, id)])
    assert.deepEqual(
      replies.map(({ status }) => status),
      [204, 204],
    )
    assert.equal(isGone, true)
    const build = await bodyOf(await api.call(`/builds/${id}`))
    assert.equal(build.status, 'cancelled')
    assert.equal(build.duration_ms, Date.parse(build.completed_at) - Date.parse(build.started_at))
    assert.equal((await cancel(api, id)).status, 204)
    const frames = await framesOf(api, `/builds/${id}/events?follow=true`)
    assert.deepEqual(
      frames.flatMap(({ data }) => data.status ?? []),
      ['queued', 'building', 'cancelled'],
    )
  },
)

test('a build that pushes is cancelled as long as its image is not recorded', LIMIT, async (t) => {
  const api = await givenApi(t)
  const { id } = await givenBuild(api.db)
  let recorded: boolean | undefined
  await givenWorker(t, api, async ({ lease, signal, succeed }) => {
    await lease.markPushing()
    await aborted(signal)
    recorded = await succeed()
  })
  await untilStatus(api, id, 'pushing')
  assert.equal((await cancel(api, id)).status, 204)
  assert.equal(recorded, false)
  const build = await bodyOf(await api.call(`/builds/${id}`))
  assert.equal(build.status, 'cancelled')
  assert.equal(build.image_digest, undefined)
})

test(
  'weakness 13: a build whose image is recorded is past cancelling: 409, and it becomes ready',
  LIMIT,
  async (t) => {
    const api = await givenApi(t)
    await setSlots(api.db, 1)
    const { id } = await givenBuild(api.db)
    const { lease } = await claim(api.db)
    await lease.markPushing()
    assert.equal(await lease.recordResult(DIGEST, PROVENANCE), true)
    const refused = await cancel(api, id)
    assert.equal(refused.status, 409)
    assert.deepEqual(await bodyOf(refused), {
      code: 'conflict',
      message: `build ${id} is already complete (pushing)`,
    })
  },
)

test(
  'weakness 12: of a cancel and a completion exactly one wins, however close',
  LIMIT,
  async (t) => {
    const { db, queue } = await givenApi(t)
    const races = 60
    await setSlots(db, races)
    const store = createBuildStore({ db })
    const wins = { cancel: 0, completion: 0 }
    for (let i = 0; i < races; i += 1) {
      const { id } = await givenBuild(db)
      const { lease } = await claim(db)
      await lease.markPushing()
      const complete =
        i % 2 === 0
          ? () => lease.recordResult(DIGEST, PROVENANCE)
          : () => lease.fail({ failureClass: 'build', error: 'step 1/1 exited 1' })
      // Whoever starts first has the better chance, so both do in turn.
      const early = i % 3 === 0 ? complete() : undefined
      const cancelling = queue.cancel(id)
      const [outcome, completed] = await Promise.all([cancelling, early ?? complete()])
      // The worker obeys a cancel that was recorded first.
      const obeyed = await lease.cancelled()
      const row = (await store.get(id))!
      if (completed) {
        wins.completion += 1
        if (row.status === 'pushing') assert.equal(outcome, 'complete')
        assert.equal(obeyed, false)
        assert.equal(row.status, i % 2 === 0 ? 'pushing' : 'failed')
        assert.equal(await queue.cancel(id), 'complete')
      } else {
        wins.cancel += 1
        assert.equal(outcome, 'stopping')
        assert.equal(obeyed, true)
        assert.equal(row.status, 'cancelled')
        assert.equal(row.imageDigest, undefined)
        assert.ok(row.completedAt)
      }
    }
    assert.ok(wins.cancel > 0 && wins.completion > 0, JSON.stringify(wins))
    assert.equal(await queue.active(), 0)
  },
)

test(
  'of a cancel and a claim exactly one wins: a cancelled build is never run',
  LIMIT,
  async (t) => {
    const { db, queue } = await givenApi(t)
    const races = 40
    await setSlots(db, races)
    const store = createBuildStore({ db })
    for (let i = 0; i < races; i += 1) {
      const { id } = await givenBuild(db)
      const [outcome, claimed] = await Promise.all([queue.cancel(id), claimNext(db, 'w')])
      const { status } = (await store.get(id))!
      if (claimed) {
        assert.equal(claimed.id, id)
        assert.equal(outcome, 'stopping')
        assert.equal(status, 'building')
        await createLease({ db, buildId: id, token: claimed.leaseToken }).cancelled()
      } else {
        assert.equal(outcome, 'cancelled')
        assert.equal(status, 'cancelled')
        assert.equal(await claimNext(db, 'w'), undefined)
      }
    }
  },
)

test(
  'a build whose cancel was asked for never waits again, whether its worker gives up, stops or dies',
  LIMIT,
  async (t) => {
    const { db, queue } = await givenApi(t)
    await setSlots(db, 1)
    const store = createBuildStore({ db })
    const ends = {
      'tries again': (lease: ReturnType<typeof createLease>) => lease.requeue('it broke'),
      'hands it back': (lease: ReturnType<typeof createLease>) => lease.handBack(),
      'is lost': () => reap({ db, log: silent, worker: 'w' }),
    }
    for (const [name, end] of Object.entries(ends)) {
      const { id } = await givenBuild(db)
      const { lease } = await claim(db)
      assert.equal(await queue.cancel(id), 'stopping')
      await end(lease)
      const row = (await store.get(id))!
      assert.equal(row.status, 'cancelled', name)
      assert.ok(row.completedAt)
      assert.equal(await queue.isActive(id), false)
    }
  },
)

test(
  'weakness 12: from the moment a cancel is asked for, its build may push nothing',
  LIMIT,
  async (t) => {
    const { db, queue } = await givenApi(t)
    await setSlots(db, 2)
    const store = createBuildStore({ db })
    await givenBuild(db)
    const { build, lease } = await claim(db)
    const hash = hashLease(build.leaseToken)
    assert.equal(await store.runsUnder(build.id, hash), true)
    assert.equal(await store.runsUnder(build.id, hashLease('another')), false)
    await queue.cancel(build.id)
    assert.equal(await store.runsUnder(build.id, hash), false)
    await lease.cancelled()
    assert.equal(await store.runsUnder(build.id, hash), false)

    await givenBuild(db)
    const requeued = await claim(db)
    await requeued.lease.requeue('it broke')
    assert.equal(
      await store.runsUnder(requeued.build.id, hashLease(requeued.build.leaseToken)),
      false,
    )
    const again = await claim(db)
    assert.equal(again.build.id, requeued.build.id)
    assert.equal(await store.runsUnder(again.build.id, hashLease(again.build.leaseToken)), true)
    assert.equal(await store.runsUnder(again.build.id, hashLease(requeued.build.leaseToken)), false)
  },
)

test(
  'a caller that leaves while its cancel is carried out leaves the cancel behind',
  LIMIT,
  async (t) => {
    const api = await givenApi(t)
    const { id } = await givenBuild(api.db)
    let stop = () => {}
    const isAllowed = new Promise<void>((resolve) => {
      stop = resolve
    })
    await givenWorker(t, api, async ({ signal }) => {
      await aborted(signal)
      await isAllowed
    })
    await untilStatus(api, id, 'building')
    const leaving = new AbortController()
    const reply = api.call(`/builds/${id}`, { method: 'DELETE', signal: leaving.signal })
    await assert.rejects(
      Promise.all([
        reply,
        new Promise((done) => setTimeout(done, 200)).then(() => leaving.abort()),
      ]),
    )
    stop()
    const ended = await api.queue.waitDone(id, AbortSignal.timeout(120_000))
    assert.equal(ended.status, 'cancelled')
  },
)

test(
  'a worker that does not answer leaves the cancel recorded: 503 for now, 204 once it is taken back',
  LIMIT,
  async (t) => {
    const api = await givenApi(t, { cancelDeadlineMs: 100 })
    const { db } = api
    await setSlots(db, 1)
    const { id } = await givenBuild(db)
    await claim(db)
    const pending = await cancel(api, id)
    assert.equal(pending.status, 503)
    const { code, message } = await bodyOf(pending)
    assert.equal(code, 'cancel_pending')
    assert.match(
      message,
      /will be cancelled, but its worker has not stopped it within 0.1 s; ask again$/,
    )
    const expired = { lease_until: db.raw(`now() - interval '1 s'`) }
    await db('builds').where({ id }).update(expired)
    await reap({ db, log: silent })
    assert.equal((await cancel(api, id)).status, 204)
  },
)

test('a server that stops does not say that a worker was waited for in vain', LIMIT, async (t) => {
  const { db, queue, buildLog } = await givenApi(t)
  await setSlots(db, 1)
  const { id } = await givenBuild(db)
  await claim(db)
  const store = createBuildStore({ db })
  const builds = createBuilds({ db, store, queue, buildLog, registryName: () => 'r' })
  const operator = { user: 'ops', tenant: 'acme', admin: true, permissions: undefined, jti: '1' }
  await assert.rejects(builds.cancel(operator, id, AbortSignal.abort()), {
    code: 'cancel_pending',
    message: /this server stops before its worker has said that it has stopped it; ask again$/,
  })
})
