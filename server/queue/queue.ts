// The queue as the rest of the server sees it: seed 000's BuildQueue and the job service of seed 004, over the
// rows that are the queue (DESIGN §4.1). It holds no state: what it says is what the database says.
import type { Knex } from 'knex'
import type { BuildLog } from '../builds/log.ts'
import { TERMINAL } from '../builds/schema.ts'
import type { BuildRow, BuildStore, NewBuild } from '../builds/store.ts'
import { endColumns, transitionIn } from '../builds/transitions.ts'
import { untilStatus } from '../builds/wait.ts'
import { notify } from '../db/notices.ts'
import type { Db } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { AppError, notFound } from '../errors.ts'
import { queuePositions } from './position.ts'
import { markComplete } from './slots.ts'
import { whyQueueWaits } from './wait-reason.ts'

export interface QueueOptions {
  db: Db
  store: BuildStore
  buildLog: BuildLog
}

export interface Enqueued {
  build: BuildRow
  /** 1-based; 0 when it runs already. */
  position: number
}

/** `stopping`: its worker was asked and will say when the VM is gone. `complete`: too late. */
export type CancelOutcome = 'cancelled' | 'stopping' | 'complete'

export interface QueueCounts {
  active: number
  pending: number
  length: number
}

export type Queue = ReturnType<typeof createQueue>

export function createQueue({ db, store, buildLog }: QueueOptions) {
  async function counts(): Promise<QueueCounts> {
    const [row] = await rows<{ active: number; pending: number }>(
      db,
      `select (select count(*) from slots where build_id is not null) as active,
              (select count(*) from builds where status = 'queued') as pending`,
    )
    const { active = 0, pending = 0 } = row ?? {}
    return { active, pending, length: active + pending }
  }

  return {
    /**
     * Queues a build. The same id again is no second build: it is the first one. One that has ended, or is
     * another tenant's, is `already_exists`.
     */
    add,

    /** The same, in a transaction of its own unless one is given, and where the build stands in the queue. */
    enqueue(build: NewBuild, trx?: Knex.Transaction): Promise<Enqueued> {
      return trx ? enqueueIn(trx, build) : db.transaction((own) => enqueueIn(own, build))
    },

    /**
     * One of cancel and completion is first, and the row's lock decides which. A queued build is cancelled at
     * once. Throws `not_found`.
     */
    cancel(id: string): Promise<CancelOutcome> {
      return db.transaction(async (trx) => {
        const row = await trx('builds').where({ id }).forNoKeyUpdate().first('status', 'result_at')
        if (!row) throw notFound('build')
        if (row.status === 'cancelled') return 'cancelled'
        const asked = { cancel_requested_at: trx.raw('coalesce(cancel_requested_at, now())') }
        if (row.status === 'queued') {
          const set = { ...endColumns(trx), ...asked }
          await transitionIn(trx, { id, from: ['queued'], to: 'cancelled', set })
          return 'cancelled'
        }
        if (TERMINAL.has(row.status) || row.result_at !== null) return 'complete'
        await trx('builds').where({ id }).update(asked)
        notify(trx, 'hypeman_build', `cancel:${id}`)
        return 'stopping'
      })
    },

    /** 1-based place among the queued builds, in the claim's own order; undefined when not queued. */
    async position(id: string): Promise<number | undefined> {
      return (await queuePositions(db, [id])).get(id)
    },

    /** Why queued builds wait although there may be slots; undefined: for their turn. */
    waitReason: () => whyQueueWaits(db),

    positions: (ids: readonly string[]) => queuePositions(db, ids),

    /** Whether it holds a slot. */
    async isActive(id: string): Promise<boolean> {
      return (await db('slots').where({ build_id: id }).first('n')) !== undefined
    },

    /** Frees the slot of a build that nobody runs any more, and wakes the workers. */
    markComplete: (id: string) => markComplete(db, id),

    counts,
    active: async () => (await counts()).active,
    pending: async () => (await counts()).pending,
    length: async () => (await counts()).length,

    /**
     * The build as it ended. Rejects with the signal's reason when that aborts first. As every snapshot it is
     * the caller's own: changing it changes nothing here.
     */
    async waitDone(id: string, signal: AbortSignal): Promise<BuildRow> {
      const build = await store.get(id)
      if (!build) throw notFound('build')
      await untilStatus(buildLog, build, (status) => TERMINAL.has(status), signal)
      const ended = await store.get(id)
      if (!ended) throw notFound('build')
      if (!TERMINAL.has(ended.status)) signal.throwIfAborted()
      return ended
    },
  }

  async function enqueueIn(trx: Knex.Transaction, build: NewBuild): Promise<Enqueued> {
    const added = await add(trx, build)
    const position = (await queuePositions(trx, [build.id])).get(build.id) ?? 0
    return { build: added, position }
  }

  async function add(trx: Knex.Transaction, build: NewBuild): Promise<BuildRow> {
    try {
      return await store.insert(trx, build)
    } catch (error) {
      if (!(error instanceof AppError)) throw error
      // Whoever has no room for another one has this one all the same.
      const known = await store.get(build.id, trx)
      if (known?.tenant === build.tenant && !TERMINAL.has(known.status)) return known
      throw known ? new AppError('already_exists', `there is a build ${build.id} already`) : error
    }
  }
}
