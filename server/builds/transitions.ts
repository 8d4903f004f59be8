// The state machine of a build, decided by the database: every change locks the row in the status it comes from,
// changes it once (see lock-order.ts), and writes its event in the same transaction. No row = somebody else was first.
import type { Knex } from 'knex'
import type { Db, Queryable } from '../db/pool.ts'
import { markComplete } from '../queue/slots.ts'
import { insertEvents, type NewEvent } from './event-store.ts'
import type { BuildStatus, FailureClass } from './schema.ts'
import { type BuildRow, toBuild } from './store.ts'

/** What may follow what. Only the reaper or a drain goes back to queued. */
export const NEXT: Readonly<Record<BuildStatus, readonly BuildStatus[]>> = {
  queued: ['building', 'cancelled', 'failed'],
  building: ['pushing', 'queued', 'failed', 'cancelled'],
  pushing: ['ready', 'queued', 'failed', 'cancelled'],
  ready: [],
  failed: [],
  cancelled: [],
}

export interface Failure {
  failureClass: FailureClass
  /** One sentence. */
  error: string
}

export interface Transition {
  id: string
  from: readonly BuildStatus[]
  to: BuildStatus
  /** Further columns to set, as `column: value`. */
  set?: Record<string, unknown>
  /** Only while this lease is held. */
  leaseToken?: string
  /** Extra condition on the row, raw SQL without bindings. */
  only?: string
  /** Events written before the status event. */
  events?: NewEvent[]
}

/** Told of every change of status this process has written, once it is committed. */
export type OnMoved = (build: BuildRow) => void

/** The same pool; transitions through it, and through its transactions, are told. */
export function watchTransitions(db: Db, moved: OnMoved): Db {
  return db.withUserParams({ ...db.userParams, moved })
}

/** Moves a build; undefined when it was not in one of `from`, or the lease is not held any more. */
export async function transition(db: Db, t: Transition): Promise<BuildRow | undefined> {
  return db.transaction((trx) => transitionIn(trx, t))
}

export async function transitionIn(
  trx: Knex.Transaction,
  t: Transition,
): Promise<BuildRow | undefined> {
  const before = await lockIn(trx, t)
  if (!before) return undefined
  const supersededBy = t.set?.superseded_by ?? before.superseded_by
  const events: NewEvent[] = [
    ...(t.events ?? []),
    ...(t.to === 'cancelled' && supersededBy ? [lastLine(supersededBy, before.ref)] : []),
    { type: 'status', status: t.to },
  ]
  const [row] = await trx('builds')
    .where({ id: t.id })
    .update({
      status: t.to,
      ...(t.to === 'queued' ? { queued_at: trx.raw('clock_timestamp()') } : {}),
      ...t.set,
      last_seq: before.last_seq + events.length,
    })
    .returning('*')
  if (t.to !== 'building' && t.to !== 'pushing') await markComplete(trx, t.id)
  await insertEvents(trx, t.id, before.last_seq, events)
  const build = toBuild(row)
  tell(trx, build)
  return build
}

/** The row, when it is where the change starts. */
async function lockIn(trx: Knex.Transaction, t: Transition) {
  const from = t.from.filter((status) => NEXT[status].includes(t.to))
  if (from.length === 0) throw new TypeError(`no way from ${t.from.join('|')} to ${t.to}`)
  const found = trx('builds').where({ id: t.id }).whereIn('status', from).forNoKeyUpdate()
  if (t.leaseToken !== undefined) found.where({ lease_token: t.leaseToken })
  if (t.only !== undefined) found.whereRaw(t.only)
  return found.first('last_seq', 'superseded_by', 'ref')
}

/** Whoever reads the log of a build that a newer push has cancelled is told where to go on. */
function lastLine(supersededBy: unknown, ref: string): NewEvent {
  return { type: 'log', line: `superseded by build ${supersededBy} of a newer push to ${ref}` }
}

function tell(db: Queryable, build: BuildRow): void {
  const moved: OnMoved | undefined = db.userParams.moved
  if (!moved) return
  const committed = 'executionPromise' in db ? db.executionPromise : Promise.resolve()
  committed.then(
    () => moved(build),
    () => {}, // rolled back, so it did not move; whoever holds the transaction hears why
  )
}

/** Now, but never before anything else of the build: clocks are set back. */
export function completedNow(db: Queryable) {
  return db.raw('greatest(clock_timestamp(), created_at, started_at, pushing_at, result_at)')
}

/** The columns that end a build, whatever the outcome. */
export function endColumns(db: Queryable) {
  return { completed_at: completedNow(db), lease_token: null, lease_until: null }
}
