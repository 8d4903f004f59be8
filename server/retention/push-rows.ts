// Which ref moved when: what no build has any more, and that is not where the ref stands. The latest move of each ref
// stays for ever: the reconciler builds a tip that it does not find there.
import { type Db, rows } from '../db/pool.ts'
import { RETENTION_BATCH_ROWS } from '../limits.ts'
import type { RetentionRun } from './report.ts'
import type { RetentionSettings } from './settings.ts'

export interface PushRetentionOptions {
  db: Db
  /** A move is remembered for as long as its build would be. */
  settings: Pick<RetentionSettings, 'buildDays'>
}

interface OldPush {
  id: string
  app: string
  ref: string
  new_sha: string
}

const PAST = `
  select pushes.id, apps.tenant || '/' || apps.name as app, ref, new_sha
  from pushes join apps on apps.id = app_id
  where pushes.id > :last
    and pushes.created_at < clock_timestamp() - cast(:days as int) * interval '1 day'
    and not exists (select from builds where push_id = pushes.id)
    and exists (
      select from pushes later
      where later.app_id = pushes.app_id and later.ref = pushes.ref and later.seq > pushes.seq
    )
  order by pushes.id
  limit :limit`

export function createPushRetention({ db, settings }: PushRetentionOptions) {
  const { buildDays: days } = settings

  async function run({ dryRun, report, signal }: RetentionRun): Promise<void> {
    if (days === undefined) return
    const reason = `over ${days} days ago, and its build is gone`
    for (let last = '0'; !signal.aborted; ) {
      const found = await rows<OldPush>(db, PAST, { last, days, limit: RETENTION_BATCH_ROWS })
      if (found.length === 0) return
      last = found.at(-1)!.id
      if (!dryRun) {
        await db('pushes')
          .whereIn(
            'id',
            found.map(({ id }) => id),
          )
          .delete()
      }
      for (const { app, ref, new_sha: sha } of found) {
        report.note({ kind: 'push', name: `${app} ${ref} ${sha.slice(0, 10)}`, reason })
      }
    }
  }

  return { run }
}
