// The queues that are compared, each in a database of its own in the same PostgreSQL: filled, one job taken, and
// that job ended, which is not measured.

import { Logger } from 'graphile-worker'
import { getUtilsAndReleasersFromOptions } from 'graphile-worker/dist/lib.js'
import { completeJob } from 'graphile-worker/dist/sql/completeJob.js'
import { getJob } from 'graphile-worker/dist/sql/getJob.js'
import pg from 'pg'
import PgBoss from 'pg-boss'
import { migrate } from '../../server/db/migrate.ts'
import { createDb } from '../../server/db/pool.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { queuePositions } from '../../server/queue/position.ts'
import { setSlots } from '../../server/queue/slots.ts'

const CONNECTIONS = 20
const TENANTS = 100

/** A pool of pg has ended before its connections are closed, so that the end of PostgreSQL may still meet them. */
const UNCLOSED = () => {}

/** Ends the job that was taken. */
type End = () => Promise<unknown>

export interface Side {
  name: string
  fill(count: number): Promise<void>
  take(worker: string): Promise<End>
  /** Place of the job that would be taken last, where there is such a thing. */
  position?(): Promise<number>
  stop(): Promise<void>
}

const empty = (name: string) => new Error(`${name}: nothing could be taken`)

export async function ours(url: string): Promise<Side> {
  const db = createDb(url, { poolMax: CONNECTIONS })
  await migrate(db)
  await setSlots(db, CONNECTIONS)
  const name = 'hypeman'
  let last = ''
  return {
    name,
    async fill(count) {
      last = `b${count - 1}`
      await db.raw('truncate builds, queue_tenants cascade')
      await setSlots(db, CONNECTIONS)
      // So many at once would update the row of a tenant as often in one transaction.
      await db.raw('alter table builds disable trigger queue_counts_builds')
      await db.raw(
        `insert into builds (id, tenant, pusher, request, source_key, source_hash, source_bytes, created_at)
         select 'b' || n, 'tenant-' || n % ${TENANTS}, 'bench', '{}', 'none', '', 0,
                clock_timestamp() + n * interval '1 us'
         from generate_series(0, ? - 1) n`,
        [count],
      )
      await db.raw('alter table builds enable trigger queue_counts_builds')
      await db.raw(
        'insert into queue_tenants (tenant, queued) select tenant, count(*) from builds group by tenant',
      )
      await db.raw('vacuum analyze')
    },
    async take(worker) {
      const build = await claimNext(db, worker)
      if (!build) throw empty(name)
      const lease = createLease({ db, buildId: build.id, token: build.leaseToken })
      return () => lease.fail({ failureClass: 'build', error: 'bench' })
    },
    position: async () => (await queuePositions(db, [last])).get(last) ?? 0,
    stop: () => db.destroy(),
  }
}

export async function pgBoss(url: string): Promise<Side> {
  const boss = new PgBoss({
    connectionString: url,
    max: CONNECTIONS,
    supervise: false,
    schedule: false,
  })
  boss.on('error', UNCLOSED)
  await boss.start()
  const db = createDb(url, { poolMax: 1 })
  await boss.createQueue('bench')
  const name = 'pg-boss'
  return {
    name,
    async fill(count) {
      await boss.purgeQueue('bench')
      await db.raw(
        `insert into pgboss.job (name, data) select 'bench', '{}' from generate_series(1, ?)`,
        [count],
      )
      await db.raw('vacuum analyze')
    },
    async take() {
      const [job] = await boss.fetch('bench')
      if (!job) throw empty(name)
      return () => boss.complete('bench', job.id)
    },
    async stop() {
      await db.destroy()
      await boss.stop({ graceful: false })
    },
  }
}

export async function graphileWorker(url: string): Promise<Side> {
  const db = createDb(url, { poolMax: CONNECTIONS })
  const tasks = { bench: async () => {} }
  const logger = new Logger(() => () => {})
  const pgPool = new pg.Pool({ connectionString: url, max: CONNECTIONS }).on('error', UNCLOSED)
  const [compiled, release] = await getUtilsAndReleasersFromOptions({
    pgPool,
    taskList: tasks,
    logger,
  })
  const { withPgClient } = compiled
  const name = 'graphile-worker'
  return {
    name,
    async fill(count) {
      await db.raw('truncate graphile_worker._private_jobs')
      await db.raw(`select graphile_worker.add_job('bench', '{}')`)
      await db.raw(
        `insert into graphile_worker._private_jobs (task_id, payload)
         select task_id, payload from graphile_worker._private_jobs, generate_series(2, ?)`,
        [count],
      )
      await db.raw('vacuum analyze')
    },
    async take(worker) {
      const job = await getJob(compiled, withPgClient, tasks, worker, null)
      if (!job) throw empty(name)
      return () => completeJob(compiled, withPgClient, worker, job as never)
    },
    async stop() {
      await db.destroy()
      await release()
      await pgPool.end()
    },
  }
}
