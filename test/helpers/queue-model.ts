// The queue as several workers and clients drive it at once, and what must hold of it whatever they do. Commands
// of one round run at the same time, each on a connection of its own.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { createBuildLog } from '../../server/builds/log.ts'
import type { BuildStatus } from '../../server/builds/schema.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { NEXT, transition } from '../../server/builds/transitions.ts'
import { rows } from '../../server/db/pool.ts'
import { AppError } from '../../server/errors.ts'
import { PRIORITY_MAX } from '../../server/limits.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease, type Lease } from '../../server/queue/lease.ts'
import { queuePositions } from '../../server/queue/position.ts'
import { createQueue } from '../../server/queue/queue.ts'
import { reap } from '../../server/queue/reaper.ts'
import { setQueueLimits, setSlots } from '../../server/queue/slots.ts'
import type { Supersede } from '../../server/queue/supersede.ts'
import { givenBuild } from './builds.ts'
import { silent, type TestDatabase } from './database.ts'
import { DIGEST, PROVENANCE } from './fake-worker.ts'
import { givenPush, type PushedApp } from './pushes.ts'

const WORKERS = ['w1', 'w2', 'w3']
const WRITES = [
  'beat',
  'push',
  'result',
  'fail',
  'cancelled',
  'requeue',
  'handBack',
  'log',
] as const

export type Command =
  | { do: 'submit'; tenant: string; priority: number }
  | { do: 'push'; branch: string; which: Supersede }
  | { do: 'claim'; worker: string }
  | { do: 'write'; lease: number; what: (typeof WRITES)[number] }
  | { do: 'cancel'; build: number }
  | { do: 'lose'; build: number }
  | { do: 'age'; build: number }
  | { do: 'restart'; worker: string }
  | { do: 'reap' }
  | { do: 'finish' }

const n = fc.nat({ max: 1000 })
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('submit' as const),
      tenant: fc.constantFrom('acme', 'other', 'third'),
      priority: fc.constantFrom(0, 0, 0, -5, 5, PRIORITY_MAX + 2),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('push' as const),
      branch: fc.constantFrom('main', 'next'),
      which: fc.constantFrom<Supersede>('off', 'queued', 'running'),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('claim' as const),
      worker: fc.constantFrom(...WORKERS),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      lease: n,
      what: fc.constantFrom(...WRITES),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('cancel' as const), build: n }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('lose' as const), build: n }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('age' as const), build: n }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('restart' as const),
      worker: fc.constantFrom(...WORKERS),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ do: 'reap' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'finish' as const }) },
)

/** Rounds of commands that happen at once. */
export const rounds = fc.array(fc.array(command, { minLength: 1, maxLength: 8 }), {
  minLength: 4,
  maxLength: 14,
})

export interface ModelLimits {
  slots: number
  perTenant: number
}

interface Held {
  lease: Lease
  token: string
  /** How often a write that ends the lease has said that it did. */
  ended: number
}

export async function createModel({ db, listener }: TestDatabase, limits: ModelLimits) {
  await db.raw('truncate apps, pushes, builds, slots, queue_tenants, branch_images cascade')
  await setSlots(db, limits.slots)
  await setQueueLimits(db, { runningPerTenant: limits.perTenant })
  const store = createBuildStore({ db })
  const queue = createQueue({ db, store, buildLog: createBuildLog({ db, listener }) })
  const [app] = await db('apps')
    .insert({ id: 'app', tenant: 'acme', name: 'web' })
    .returning<PushedApp[]>(['id', 'name'])
  const submitted: string[] = []
  const held: Held[] = []

  const isStale = async ({ lease, token }: Held) => {
    const row = await db('builds').where({ id: lease.buildId }).first('lease_token')
    return row.lease_token !== token
  }

  async function write(index: number, what: (typeof WRITES)[number]): Promise<void> {
    const one = held[index % Math.max(1, held.length)]
    if (!one) return
    const wasStale = await isStale(one)
    const { lease } = one
    const writes: Record<(typeof WRITES)[number], () => Promise<boolean>> = {
      beat: async () => (await lease.heartbeat()).held,
      push: () => lease.markPushing(),
      result: () => lease.recordResult(DIGEST, PROVENANCE),
      fail: () => lease.fail({ failureClass: 'build', error: 'no' }),
      cancelled: () => lease.cancelled(),
      requeue: () => lease.requeue('once more'),
      handBack: () => lease.handBack(),
      log: () => lease.append([{ type: 'log', line: 'hello' }]),
    }
    const did = await writes[what]()
    assert.ok(!(did && wasStale), `${what} without the lease`)
    if (did && !['beat', 'push', 'log'].includes(what)) one.ended += 1
    assert.ok(one.ended <= 1, 'a lease ended twice')
  }

  async function run(one: Command): Promise<void> {
    const id = 'build' in one ? submitted[one.build % Math.max(1, submitted.length)] : undefined
    switch (one.do) {
      case 'submit':
        submitted.push((await givenBuild(db, one)).id)
        return
      case 'push':
        submitted.push((await givenPush(db, app!, { ...one, ref: `refs/heads/${one.branch}` })).id)
        return
      case 'claim': {
        const build = await claimNext(db, one.worker)
        if (!build) return
        const lease = createLease({ db, buildId: build.id, token: build.leaseToken })
        held.push({ lease, token: build.leaseToken, ended: 0 })
        return
      }
      case 'write':
        return write(one.lease, one.what)
      case 'cancel':
        if (id) await queue.cancel(id)
        return
      case 'lose':
        await db('builds')
          .where({ id: id ?? '' })
          .whereNotNull('lease_token')
          .update({ lease_until: db.raw(`clock_timestamp() - interval '1 s'`) })
        return
      case 'age':
        await db('builds')
          .where({ id: id ?? '', status: 'queued' })
          .update({ queued_at: db.raw(`clock_timestamp() - interval '25 hours'`) })
        return
      case 'restart':
        await reap({ db, log: silent, worker: one.worker })
        return
      case 'reap':
        await reap({ db, log: silent })
        return
      case 'finish': {
        const done = await db('builds').where({ status: 'pushing' }).whereNotNull('result_at')
        const set = { completed_at: db.raw('clock_timestamp()') }
        for (const { id: build } of done) {
          await transition(db, {
            id: build,
            from: ['pushing'],
            to: 'ready',
            only: 'result_at is not null',
            set,
          })
        }
      }
    }
  }

  /** What must hold whenever nothing is under way. */
  async function check(): Promise<void> {
    const builds = await db('builds')
    assert.deepEqual(builds.map(({ id }) => id).sort(), [...submitted].sort(), 'no build is lost')
    await checkHistories()
    const slots = await db('slots')
    assert.ok(slots.length <= limits.slots)
    const leased = builds.filter(({ lease_token }) => lease_token !== null).map(({ id }) => id)
    const inSlots = slots.flatMap(({ build_id }) => (build_id === null ? [] : [build_id]))
    assert.deepEqual(inSlots.sort(), leased.sort(), 'who has a lease has a slot, and nobody else')
    for (const { tenant, queued, running } of await db('queue_tenants')) {
      const own = builds.filter((build) => build.tenant === tenant)
      assert.equal(queued, own.filter(({ status }) => status === 'queued').length, 'queued')
      assert.equal(running, own.filter(({ id }) => leased.includes(id)).length, 'running')
      assert.ok(running <= limits.perTenant, `${running} of ${tenant}`)
    }
    await checkPositions()
  }

  async function checkHistories(): Promise<void> {
    const histories = await rows<{
      id: string
      status: BuildStatus
      history: BuildStatus[]
      gaps: number
    }>(
      db,
      `select b.id, b.status, b.last_seq - count(e.seq) as gaps,
              array_agg(e.content order by e.seq) filter (where e.type = 'status') as history
       from builds b join build_events e on e.build_id = b.id group by b.id`,
    )
    for (const { id, status, history, gaps } of histories) {
      assert.equal(gaps, 0, `the log of ${id} has gaps`)
      assert.equal(history.at(-1), status)
      assert.equal(history[0], 'queued')
      for (const [i, next] of history.slice(1).entries()) {
        assert.ok(NEXT[history[i]!].includes(next), `${id}: ${history.join(' ')}`)
      }
    }
  }

  /** The position that is counted against the queue as it is sorted. */
  async function checkPositions(): Promise<void> {
    const sorted = await rows<{ id: string }>(
      db,
      `select id from (
         select b.*, t.running, t.turn, t.waiting_since,
                row_number() over (partition by b.tenant order by priority desc, b.created_at, b.id) as k
         from builds b join queue_tenants t using (tenant) where b.status = 'queued'
       ) q
       order by case when priority > ${PRIORITY_MAX} then priority end desc nulls last,
                case when priority > ${PRIORITY_MAX} then created_at end,
                running + k, turn + k, waiting_since, tenant, id`,
    )
    const positions = await queuePositions(db, submitted)
    assert.deepEqual(
      [...positions].sort(([, a], [, b]) => a - b).map(([id]) => id),
      sorted.map(({ id }) => id),
    )
    assert.deepEqual(
      [...positions.values()].sort((a, b) => a - b),
      sorted.map((_, i) => i + 1),
    )
  }

  return {
    check,
    async round(commands: readonly Command[]): Promise<void> {
      const results = await Promise.allSettled(commands.map(run))
      for (const result of results) {
        const isRefusal = result.status === 'rejected' && result.reason instanceof AppError
        if (result.status === 'rejected' && !isRefusal) throw result.reason
      }
    },

    /** Nothing is stuck: what is left can be claimed and ended, in the order of its positions. */
    async drain(): Promise<void> {
      for (const worker of WORKERS) await reap({ db, log: silent, worker })
      const waiting = (await db('builds').where({ status: 'queued' })).map(({ id }) => id)
      const positions = await queuePositions(db, waiting)
      const order = waiting.sort((a, b) => positions.get(a)! - positions.get(b)!)
      if (order.length > 0) assert.equal((await claimNext(db, 'w1'))?.id, order[0])
      await reap({ db, log: silent, worker: 'w1' })
      for (let left = 2 * waiting.length + 1; left > 0; left -= 1) {
        const build = await claimNext(db, 'w1')
        if (!build) break
        const lease = createLease({ db, buildId: build.id, token: build.leaseToken })
        await lease.fail({ failureClass: 'build', error: 'drained' })
      }
      assert.equal(
        (await db('builds').where({ status: 'queued' })).length,
        0,
        'all could be claimed',
      )
      await check()
    },
  }
}
