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
  newSha: string
  source: 'push' | 'reconcile'
}

export async function insertPush(db: Queryable, moved: MovedRef): Promise<number> {
  const { app, update, pusher, source } = moved
  const [row] = await db('pushes')
    .insert({
      app_id: app.id,
      ref: update.ref,
      old_sha: update.oldSha,
      new_sha: update.newSha,
      pusher,
      source,
    })
    .returning('id')
  return row.id
}

export async function latestPush(
  db: Queryable,
  appId: string,
  ref: string,
): Promise<PushRow | undefined> {
  const row = await db('pushes')
    .where({ app_id: appId, ref })
    .orderBy('seq', 'desc')
    .first('id', 'seq', 'new_sha', 'source')
  return row && { id: row.id, seq: row.seq, newSha: row.new_sha, source: row.source }
}

/** A push that is recorded after the one that followed it: they change places in the order. */
export async function putBefore(db: Queryable, pushId: number, later: PushRow): Promise<void> {
  await db.raw(
    `update pushes
     set seq = case when id = :pushId then :seq else (select seq from pushes where id = :pushId) end
     where id in (:pushId, :laterId)`,
    { pushId, seq: later.seq, laterId: later.id },
  )
}
