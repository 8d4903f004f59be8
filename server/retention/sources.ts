// Source archives: those of builds that ended a while ago, and files that no build knows. Archives are shared by
// content, so one goes only when no build needs it, and nobody can queue one with it in that moment.
import { sourceLock } from '../builds/store.ts'
import { holding } from '../db/advisory-lock.ts'
import { type Db, rows } from '../db/pool.ts'
import { ORPHAN_GRACE_HOURS, RETENTION_BATCH_ROWS } from '../limits.ts'
import type { Objects } from '../objects/objects.ts'
import { deleteOne } from './delete-one.ts'
import type { RetentionRun } from './report.ts'
import type { RetentionSettings } from './settings.ts'

export interface SourceRetentionOptions {
  db: Db
  objects: Pick<Objects, 'list' | 'remove'>
  settings: Pick<RetentionSettings, 'sourceDays'>
}

interface Expired {
  id: string
  source_key: string
  source_bytes: number
}

const NEEDED = `exists (select from builds where source_key = key and source_expired_at is null)`

export function createSourceRetention({ db, objects, settings }: SourceRetentionOptions) {
  async function run(run: RetentionRun): Promise<void> {
    await ofEndedBuilds(run)
    await orphans(run)
  }

  async function ofEndedBuilds(run: RetentionRun): Promise<void> {
    for (let last = ''; !run.signal.aborted; ) {
      const found = await endedAfter(last)
      if (found.length === 0) return
      last = found.at(-1)!.id
      if (!run.dryRun) await markExpired(found.map(({ id }) => id))
      const keys = new Map(found.map(({ source_key: key, source_bytes: bytes }) => [key, bytes]))
      for (const [name, bytes] of keys) {
        const noted = { kind: 'source' as const, name, reason: 'its builds have ended', bytes }
        await deleteOne(run, noted, () => removeUnneeded(name))
      }
    }
  }

  /** Builds that need their source no more, or whose app was removed; in the order of their ids. */
  function endedAfter(last: string): Promise<Expired[]> {
    return rows<Expired>(
      db,
      `select id, source_key, source_bytes from builds
       where completed_at is not null and source_expired_at is null and id > :last
         and (completed_at < clock_timestamp() - cast(:days as int) * interval '1 day'
           or (app is not null and app_id is null))
       order by id
       limit :limit`,
      { last, days: settings.sourceDays ?? null, limit: RETENTION_BATCH_ROWS },
    )
  }

  async function markExpired(ids: readonly string[]): Promise<void> {
    await db('builds')
      .whereIn('id', ids)
      .whereNotNull('completed_at')
      .update({ source_expired_at: db.raw('clock_timestamp()') })
  }

  function removeUnneeded(key: string): Promise<boolean> {
    return holding(db, sourceLock(key), async (trx) => {
      const [row] = await rows<{ needed: boolean }>(
        trx,
        `select ${NEEDED} as needed from cast(:key as text) as key`,
        { key },
      )
      if (row?.needed) return false
      await objects.remove(key)
      await trx('orphan_objects').where({ key }).delete()
      return true
    })
  }

  /** A file is written before its build: what no build needs goes when it is seen again after a while. */
  async function orphans(run: RetentionRun): Promise<void> {
    for await (const batch of batches(objects.list())) {
      if (run.signal.aborted) return
      const due = new Set(await dueOrphans(batch.map(({ key }) => key)))
      for (const { key: name, bytes } of batch) {
        if (!due.has(name)) continue
        const noted = { kind: 'orphan' as const, name, reason: 'no build has it', bytes }
        await deleteOne(run, noted, () => removeUnneeded(name))
      }
    }
    await db('orphan_objects')
      .whereRaw(`seen_at < clock_timestamp() - ? * interval '1 hour'`, [4 * ORPHAN_GRACE_HOURS])
      .delete()
  }

  /** Notes those that no build needs, forgets those that one needs again. */
  function dueOrphans(keys: readonly string[]): Promise<string[]> {
    return db.transaction(async (trx) => {
      await trx.raw(
        `insert into orphan_objects (key)
         select key from unnest(cast(? as text[])) as key where not ${NEEDED}
         on conflict do nothing`,
        [keys as string[]],
      )
      await trx.raw(`delete from orphan_objects where key = any(?) and ${NEEDED}`, [
        keys as string[],
      ])
      return trx('orphan_objects')
        .whereIn('key', keys)
        .whereRaw(`seen_at < clock_timestamp() - ? * interval '1 hour'`, [ORPHAN_GRACE_HOURS])
        .pluck('key')
    })
  }

  return { run }
}

async function* batches<T>(items: AsyncIterable<T>): AsyncGenerator<T[]> {
  let batch: T[] = []
  for await (const item of items) {
    batch.push(item)
    if (batch.length < RETENTION_BATCH_ROWS) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
