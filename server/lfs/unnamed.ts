// Objects that no ref of their app names any more, as after a force-push or a branch that is gone: part of a run of
// the retention. What is found unnamed stays for a while; a client that is told that it is there starts that anew.
import { type Db, type Queryable, rows } from '../db/pool.ts'
import type { FindLfsNames, LfsNames } from '../git/lfs-names.ts'
import { LFS_UNNAMED_DAYS } from '../limits.ts'
import type { RetentionRun } from '../retention/report.ts'

export interface UnnamedOptions {
  db: Db
  lfsNames: FindLfsNames
}

interface LfsApp {
  id: string
  tenant: string
  name: string
}

/** Nothing of it counts: a ref has moved meanwhile. */
class Moved extends Error {}

export function createUnnamedRetention({ db, lfsNames }: UnnamedOptions) {
  async function ofApp(app: LfsApp, { dryRun, report, signal }: RetentionRun): Promise<void> {
    const names = await lfsNames(app.id, signal)
    if (!names) return
    const gone = dryRun
      ? await dueOf(db, app.id, names.oids)
      : await db.transaction((trx) => removeDue(trx, app.id, names))
    for (const oid of gone) {
      const name = `lfs/${oid} of ${app.tenant}/${app.name}`
      report.note({
        kind: 'orphan',
        name,
        reason: `no ref has named it for ${LFS_UNNAMED_DAYS} days`,
      })
    }
  }

  return {
    /** The content goes with the last app that has it: see createLfsRetention. */
    async run(run: RetentionRun): Promise<void> {
      const apps = await rows<LfsApp>(
        db,
        `select id, tenant, name from apps
         where exists (select from lfs_objects where app_id = apps.id)
         order by id`,
      )
      for (const app of apps) {
        if (run.signal.aborted) return
        await ofApp(app, run).catch((error) => {
          if (error instanceof Moved || run.signal.aborted) return
          run.report.fail('orphan', `lfs of ${app.tenant}/${app.name}`, error)
        })
      }
    },
  }
}

async function removeDue(trx: Queryable, appId: string, names: LfsNames): Promise<string[]> {
  // In the order in which a client's are promised.
  await trx('lfs_objects').where({ app_id: appId }).orderBy('oid').forUpdate().select('oid')
  await trx.raw(
    `update lfs_objects
     set unnamed_since = case when oid = any(:oids) then null else clock_timestamp() end
     where app_id = :appId and (oid = any(:oids)) = (unnamed_since is not null)`,
    { appId, oids: names.oids },
  )
  const due = await dueOf(trx, appId, names.oids)
  await trx('lfs_objects').where({ app_id: appId }).whereIn('oid', due).delete()
  // Last: a push that begins from now on hears what is gone.
  if (due.length > 0 && !(await names.isStill())) throw new Moved()
  return due
}

async function dueOf(db: Queryable, appId: string, named: readonly string[]): Promise<string[]> {
  const due = await rows<{ oid: string }>(
    db,
    `select oid from lfs_objects
     where app_id = :appId and not (oid = any(:named))
       and unnamed_since < clock_timestamp() - cast(:days as int) * interval '1 day'
     order by oid`,
    { appId, named: [...named], days: LFS_UNNAMED_DAYS },
  )
  return due.map(({ oid }) => oid)
}
