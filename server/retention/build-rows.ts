// Builds that ended very long ago, with all that is known of them; never one whose image is still there. Their git
// tags go with them.
import { type Db, rows } from '../db/pool.ts'
import { RETENTION_BATCH_LINES, RETENTION_BATCH_ROWS } from '../limits.ts'
import type { RetentionRun } from './report.ts'
import type { RetentionSettings } from './settings.ts'

export interface BuildRetentionOptions {
  db: Db
  settings: Pick<RetentionSettings, 'buildDays'>
  /** Removes the git tags of builds; also fine when there are none. */
  removeTags(appId: string, buildIds: readonly string[]): Promise<void>
}

interface OldBuild {
  id: string
  app_id: string | null
}

export function createBuildRetention({ db, settings, removeTags }: BuildRetentionOptions) {
  const { buildDays } = settings

  async function run({ dryRun, report, signal }: RetentionRun): Promise<void> {
    if (buildDays === undefined) return
    const reason = `ended over ${buildDays} days ago`
    for (let last = ''; ; ) {
      const found = await endedAfter(last, buildDays)
      if (found.length === 0) return
      last = found.at(-1)!.id
      const untagged = dryRun ? found : await untag(found, { report })
      for (const { id: name } of untagged) {
        if (signal.aborted) return
        const noted = { kind: 'build' as const, name, reason }
        if (dryRun) report.note(noted)
        else {
          await remove(name).then(
            () => report.note(noted),
            (error) => report.fail('build', name, error),
          )
        }
      }
    }
  }

  function endedAfter(last: string, days: number): Promise<OldBuild[]> {
    return rows<OldBuild>(
      db,
      `select id, app_id from builds
       where completed_at < clock_timestamp() - cast(:days as int) * interval '1 day' and id > :last
         and (image_digest is null or image_deleted_at is not null)
       order by id
       limit :limit`,
      { days, last, limit: RETENTION_BATCH_ROWS },
    )
  }

  /** App by app; returns those whose tags are gone. */
  async function untag(
    builds: readonly OldBuild[],
    { report }: Pick<RetentionRun, 'report'>,
  ): Promise<OldBuild[]> {
    const done = builds.filter(({ app_id: appId }) => appId === null)
    for (const appId of new Set(builds.map((build) => build.app_id))) {
      if (appId === null) continue
      const its = builds.filter((build) => build.app_id === appId)
      try {
        const ids = its.map(({ id }) => id)
        await removeTags(appId, ids)
        done.push(...its)
      } catch (error) {
        report.fail('build', `tags of app ${appId}`, error)
      }
    }
    return done
  }

  /** Bit by bit, so that no statement takes long; the row goes last. */
  async function remove(id: string): Promise<void> {
    for (;;) {
      const gone = await rows(
        db,
        `delete from build_events
         where build_id = :id and seq in (
           select seq from build_events where build_id = :id order by seq limit :limit
         )
         returning 1`,
        { id, limit: RETENTION_BATCH_LINES },
      )
      if (gone.length < RETENTION_BATCH_LINES) break
    }
    await db.transaction(async (trx) => {
      const repo = `builds/${id}`
      for (const table of ['repository_use', 'referrers']) await trx(table).where({ repo }).delete()
      await trx('builds').where({ id }).whereNotNull('completed_at').delete()
    })
  }

  return { run }
}
