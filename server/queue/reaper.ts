// Takes back builds whose worker is gone: requeued while attempts are left, else failed with class `lost`. Those
// that wait too long fail as well.
import { RELEASED } from '../builders/busy.ts'
import { loseAttempt } from '../builds/attempts.ts'
import type { NewEvent } from '../builds/event-store.ts'
import { endColumns, transitionIn } from '../builds/transitions.ts'
import type { Db } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { BUILD_ATTEMPTS_MAX, BUILDER_SAVE_DEADLINE_MS, LEASE_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import { expireQueued } from './expire.ts'

export interface ReapOptions {
  db: Db
  log: Log
  /** Also those of this worker, whatever their lease says: called when it has just started. */
  worker?: string
  /** A time of the database that is known to be right; otherwise it is what its clock says now. */
  asOf?: Date
}

const LOST = 'The worker of this build was not heard of any more: queued again'

/** Lease of a build that its worker no longer renews. */
const IS_OVER =
  '(lease_until < coalesce(cast(:asOf as timestamptz), clock_timestamp()) or worker = :worker)'

/** Returns the ids of the builds it took back. */
export async function reap({ db, log, worker, asOf }: ReapOptions): Promise<string[]> {
  if (worker !== undefined) await releaseBuilders(db, worker)
  await boundLeases(db)
  const over = { worker: worker ?? '', asOf: asOf ?? null }
  const expired = await rows<{ id: string; attempt: number; cancel: boolean }>(
    db,
    `select id, attempt, cancel_requested_at is not null as cancel
     from builds
     where status in ('building', 'pushing')
       and result_at is null
       and ${IS_OVER}
     order by created_at, id`,
    over,
  )
  const taken: string[] = []
  for (const build of expired) {
    if (await takeBack(db, build, over)) taken.push(build.id)
  }
  if (taken.length > 0) log.warn({ builds: taken }, 'took back builds of a lost worker')
  await expireQueued({ db, log })
  return taken
}

/** Those that a dead process of this worker held, also while it saved them. */
async function releaseBuilders(db: Db, worker: string): Promise<void> {
  await db.raw(`update builders set ${RELEASED} where lease_worker = ?`, [worker])
}

/**
 * No lease is longer than when it was given. One that is was given before a clock was set back, and would live on;
 * one without an end was meant so.
 */
async function boundLeases(db: Db): Promise<void> {
  // Whose row is locked right now renews it, or is looked at in the next round.
  const bound = (table: string, key: string, column: string, only: string, ms: number) =>
    db.raw(
      `update ${table} set ${column} = clock_timestamp() + :ms * interval '1 ms'
       where ${key} in (
         select ${key} from ${table}
         where ${only} and ${column} > clock_timestamp() + 2 * :ms * interval '1 ms'
           and isfinite(${column})
         for no key update skip locked
       )`,
      { ms },
    )
  await bound('builds', 'id', 'lease_until', `status in ('building', 'pushing')`, LEASE_MS)
  await bound('builders', 'key', 'lease_until', 'lease_token is not null', LEASE_MS)
  await bound(
    'builders',
    'key',
    'saving_until',
    'lease_token is not null',
    BUILDER_SAVE_DEADLINE_MS,
  )
}

async function takeBack(
  db: Db,
  build: { id: string; attempt: number; cancel: boolean },
  over: { worker: string; asOf: Date | null },
): Promise<boolean> {
  return db.transaction(async (trx) => {
    // Locked and looked at again: its worker may have come back in between.
    const [row] = await rows(
      trx,
      `select 1 from builds
       where id = :id and status in ('building', 'pushing') and result_at is null
         and ${IS_OVER}
       for no key update`,
      { ...over, id: build.id },
    )
    if (!row) return false
    await loseAttempt(trx, build.id)
    const from = ['building', 'pushing'] as const
    const released = { lease_token: null, lease_until: null }
    if (build.cancel) {
      await transitionIn(trx, { id: build.id, from, to: 'cancelled', set: endColumns(trx) })
    } else if (build.attempt < BUILD_ATTEMPTS_MAX) {
      const events: NewEvent[] = [{ type: 'log', line: LOST }]
      await transitionIn(trx, { id: build.id, from, to: 'queued', set: released, events })
    } else {
      const error = `the build's worker was lost in attempt ${build.attempt}, the last one`
      const set = { ...endColumns(trx), failure_class: 'lost', error }
      await transitionIn(trx, { id: build.id, from, to: 'failed', set })
    }
    return true
  })
}
