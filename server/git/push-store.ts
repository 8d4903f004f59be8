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
    .orderBy('id', 'desc')
    .first('id', 'new_sha', 'source')
  return row && { id: row.id, newSha: row.new_sha, source: row.source }
}
