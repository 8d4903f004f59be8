// SQL over `pushes`: every ref that moved is a row, so that the reconciler can tell which moves are known.
import type { App } from '../apps/schema.ts'
import type { Queryable } from '../db/pool.ts'
import type { RefUpdate } from './pkt-line.ts'

export interface MovedRef {
  app: App
  update: RefUpdate
  pusher: string
  source: 'push' | 'reconcile'
}

export interface PushRow {
  id: number
  /** The order in which the ref moved. */
  seq: number
  oldSha: string
  newSha: string
  source: 'push' | 'reconcile'
}

/** `gap`: it did not begin where the one before it had ended. */
export async function insertPush(
  db: Queryable,
  moved: MovedRef,
  { gap = false } = {},
): Promise<number> {
  const { app, update, pusher, source } = moved
  const [row] = await db('pushes')
    .insert({
      app_id: app.id,
      ref: update.ref,
      old_sha: update.oldSha,
      new_sha: update.newSha,
      pusher,
      source,
      gap,
    })
    .returning('id')
  return row.id
}

/** The latest, or the one before another. */
export async function latestPush(
  db: Queryable,
  appId: string,
  ref: string,
  before?: PushRow,
): Promise<PushRow | undefined> {
  const query = db('pushes').where({ app_id: appId, ref })
  // Looked up: it moves when others are put before it.
  if (before) query.where('seq', '<', db('pushes').where({ id: before.id }).select('seq'))
  const row = await query.orderBy('seq', 'desc').first()
  return row && toPush(row)
}

/** Pushes of an app that did not begin where those before them had ended. */
export async function pushesAfterGaps(
  db: Queryable,
  appId: string,
): Promise<(PushRow & { ref: string })[]> {
  const found = await db('pushes').where({ app_id: appId, gap: true }).orderBy('seq')
  return found.map((row) => ({ ...toPush(row), ref: row.ref }))
}

export async function closeGap(db: Queryable, { id }: PushRow): Promise<void> {
  await db('pushes').where({ id }).update({ gap: false })
}

/** The push recorded last, before others that followed it: each of them moves on by one place. */
export async function putBefore(db: Queryable, later: PushRow): Promise<void> {
  await db.raw(
    `with place as (
       select app_id, ref, seq from pushes where id = :laterId
     )
     update pushes set seq = coalesce(moved.seq, (select seq from place))
     from (
       select p.id, lead(p.seq) over (order by p.seq) as seq
       from pushes p join place on p.app_id = place.app_id and p.ref = place.ref
       where p.seq >= place.seq
     ) moved
     where pushes.id = moved.id`,
    { laterId: later.id },
  )
}

// biome-ignore lint/suspicious/noExplicitAny: a row as the driver gives it; this is where it gets its type
function toPush(row: any): PushRow {
  const { id, seq, old_sha: oldSha, new_sha: newSha, source } = row
  return { id, seq, oldSha, newSha, source }
}
