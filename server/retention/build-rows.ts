// Builds that ended very long ago, with all that is known of them; never one whose image is still there. Their git
// tags go with them.
import { type Db, rows } from '../db/pool.ts'
import { RETENTION_BATCH_LINES, RETENTION_BATCH_ROWS } from '../limits.ts'
import { deleteOne } from './delete-one.ts'
import { forgetRepository } from './forget-repository.ts'
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

  async function run(run: RetentionRun): Promise<void> {
    if (buildDays === undefined) return
    const reason = `ended over ${buildDays} days ago`
    for (let last = ''; ; ) {
      const found = await endedAfter(last, buildDays)
      if (found.length === 0) return
      last = found.at(-1)!.id
      const untagged = run.dryRun ? found : await untag(found, run)
      for (const { id: name } of untagged) {
        if (run.signal.aborted) return
        const noted = { kind: 'build' as const, name, reason }
        await deleteOne(run, noted, () => remove(name).then(() => true))
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
      await forgetRepository(trx, `builds/${id}`)
      await trx('builds').where({ id }).whereNotNull('completed_at').delete()
    })
  }

  return { run }
}
