// Lines of logs and connections of builds that ended long ago. What a build says of itself stays: its status, its
// steps, its attempts. In place of the first line stands that there were more.
import { type Db, rows } from '../db/pool.ts'
import { RETENTION_BATCH_LINES, RETENTION_BATCH_ROWS } from '../limits.ts'
import { deleteOne } from './delete-one.ts'
import type { RetentionRun } from './report.ts'
import type { RetentionSettings } from './settings.ts'

export interface LogRetentionOptions {
  db: Db
  settings: Pick<RetentionSettings, 'logDays'>
}

export function createLogRetention({ db, settings: { logDays } }: LogRetentionOptions) {
  async function run(run: RetentionRun): Promise<void> {
    if (logDays === undefined) return
    for (let last = ''; ; ) {
      const ids = await endedAfter(last, logDays)
      if (ids.length === 0) return
      last = ids.at(-1)!
      for (const name of ids) {
        if (run.signal.aborted) return
        const noted = { kind: 'log' as const, name, reason: `ended over ${logDays} days ago` }
        await deleteOne(run, noted, () => remove(name, logDays))
      }
    }
  }

  async function endedAfter(last: string, days: number): Promise<string[]> {
    const found = await rows<{ id: string }>(
      db,
      `select id from builds
       where completed_at < clock_timestamp() - cast(:days as int) * interval '1 day'
         and log_expired_at is null and id > :last
       order by id
       limit :limit`,
      { days, last, limit: RETENTION_BATCH_ROWS },
    )
    return found.map(({ id }) => id)
  }

  /** The first line goes last, so that a run that dies in between is ended by the next one. */
  async function remove(id: string, days: number): Promise<{ bytes: number }> {
    const [line] = await rows<{ seq: number | null; bytes: number }>(
      db,
      `select min(seq) as seq, coalesce(sum(octet_length(content)), 0)::int8 as bytes
       from build_events where build_id = ? and type = 'log'`,
      [id],
    )
    const { seq, bytes } = line!
    if (seq !== null) while ((await removeLines(id, seq)) === RETENTION_BATCH_LINES);
    await db.transaction(async (trx) => {
      const content = `[the log was removed ${days} days after the end of the build]`
      await trx('build_events')
        .where({ build_id: id, seq, type: 'log' })
        .update({ content, data: null })
      await trx('build_connections').where({ build_id: id }).delete()
      await trx('builds')
        .where({ id })
        .update({ log_expired_at: trx.raw('clock_timestamp()') })
    })
    return { bytes }
  }

  async function removeLines(id: string, afterSeq: number): Promise<number> {
    const gone = await rows(
      db,
      `delete from build_events
       where build_id = :id and seq in (
         select seq from build_events
         where build_id = :id and seq > :afterSeq and type = 'log'
         order by seq
         limit :limit
       )
       returning 1`,
      { id, afterSeq, limit: RETENTION_BATCH_LINES },
    )
    return gone.length
  }

  return { run }
}
