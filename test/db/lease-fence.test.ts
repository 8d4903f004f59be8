// Everything a worker may write, tried by one whose lease is gone: nothing changes.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createBuilderLease } from '../../server/builders/lease.ts'
import { createBuilderStore } from '../../server/builders/store.ts'
import type { ConnectionEvent } from '../../server/builds/connections.ts'
import type { Db } from '../../server/db/pool.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease, type Lease } from '../../server/queue/lease.ts'
import { reap } from '../../server/queue/reaper.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { DIGEST, PROVENANCE } from '../helpers/fake-worker.ts'

const failure = { failureClass: 'build', error: 'ghost' } as const
const connection = { host: 'ghost.example' } as ConnectionEvent

/** Each of them, so that a new one must be tried as well. */
const LEASE: Record<keyof Lease, ((lease: Lease) => Promise<unknown>) | 'writes nothing'> = {
  buildId: 'writes nothing',
  countConnections: 'writes nothing',
  heartbeat: (lease) => lease.heartbeat(),
  append: (lease) => lease.append([{ type: 'log', line: 'ghost' }], crypto.randomUUID()),
  appendConnections: (lease) => lease.appendConnections(1, 0, [connection]),
  promiseConnections: (lease) => lease.promiseConnections(7),
  recordConfig: (lease) => lease.recordConfig({ job_id: 'ghost' } as never),
  recordSource: (lease) => lease.recordSource({ commit: 'c'.repeat(40), hash: DIGEST } as never),
  markHello: (lease) => lease.markHello(),
  markPushing: (lease) => lease.markPushing(),
  recordResult: (lease) => lease.recordResult(DIGEST, PROVENANCE),
  fail: (lease) => lease.fail(failure, PROVENANCE),
  cancelled: (lease) => lease.cancelled(),
  requeue: (lease) => lease.requeue('ghost'),
  handBack: (lease) => lease.handBack(),
}

async function everything(db: Db): Promise<unknown> {
  const tables = ['builds', 'build_events', 'build_connections', 'builders', 'slots']
  return Promise.all(tables.map((table) => db(table).select().orderByRaw('1, 2')))
}

test('no write of a worker survives the loss of its lease, whoever has the build by then', async (t) => {
  const { db } = await givenDatabase(t)
  await setSlots(db, 1)
  const builders = createBuilderStore({ db })
  const { key } = (await builders.insert(db, { tenant: 'acme', id: 'ci', diskSizeGb: 1 }))!
  await givenBuild(db, { builder: { key, id: 'ci', promotes: true } })
  const first = (await claimNext(db, 'first'))!
  const lost = createLease({ db, buildId: first.id, token: first.leaseToken })
  const lostBuilder = createBuilderLease({ db, key, token: first.leaseToken })
  assert.equal(await lostBuilder.beginSave(), true)

  async function tryAll(when: string): Promise<void> {
    const before = await everything(db)
    for (const [name, write] of Object.entries(LEASE)) {
      if (write === 'writes nothing') continue
      await write(lost)
      assert.deepEqual(await everything(db), before, `${name}, ${when}`)
    }
    const next = { name: 'ghost', worker: 'first', stamp: 'ghost', bytes: 1 }
    await lostBuilder.beginSave()
    await lostBuilder.promote(undefined, next)
    await lostBuilder.drop('ghost')
    await lostBuilder.release()
    assert.deepEqual(await everything(db), before, `the builder, ${when}`)
  }

  await reap({ db, log: silent, worker: 'first' })
  await tryAll('queued again')
  const second = (await claimNext(db, 'second'))!
  assert.equal(second.id, first.id)
  await tryAll('with another worker')
  const lease = createLease({ db, buildId: second.id, token: second.leaseToken })
  await lease.markPushing()
  await tryAll('while the other pushes')
  assert.equal(await lease.recordResult(DIGEST, PROVENANCE), true)
  await tryAll('when the other is done')
})
