// Images of builds that the database does not know, after a restored backup for instance. They go when they are seen
// again after a while; what is not tagged is the garbage collection's.
import type { Db } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { ORPHAN_GRACE_HOURS } from '../limits.ts'
import type { RegistryClient } from '../registry/client.ts'
import { emptyRepository } from './delete-one.ts'
import { forgetRepository } from './forget-repository.ts'
import type { RetentionRun } from './report.ts'

export interface OrphanImageOptions {
  db: Db
  registry: Pick<RegistryClient, 'deleteTags' | 'hasTags' | 'repositories'>
  /** In a registry that is not of this server there may be builds of another one. */
  ownsRegistry: boolean
}

const AREA = 'builds'

export function createOrphanImages({ db, registry, ownsRegistry }: OrphanImageOptions) {
  async function run(run: RetentionRun): Promise<void> {
    if (!ownsRegistry) return
    for await (const repos of registry.repositories(AREA)) {
      for (const name of await due(repos)) {
        if (run.signal.aborted) return
        const noted = { kind: 'orphan' as const, name, reason: 'no build has it' }
        await emptyRepository(run, noted, registry, () => forget(name))
      }
    }
  }

  /** Notes those that no build has, forgets those that one has again. */
  function due(repos: readonly string[]): Promise<string[]> {
    return db.transaction(async (trx) => {
      const bindings = { repos, area: `${AREA}/` }
      await rows(
        trx,
        `insert into orphan_objects (key)
         select repo from unnest(cast(:repos as text[])) as repo
         where not exists (select from builds where :area || id = repo)
         on conflict do nothing`,
        bindings,
      )
      await rows(
        trx,
        `delete from orphan_objects
         where key = any(:repos) and exists (select from builds where :area || id = key)`,
        bindings,
      )
      return trx('orphan_objects')
        .whereIn('key', repos)
        .whereRaw(`seen_at < clock_timestamp() - ? * interval '1 hour'`, [ORPHAN_GRACE_HOURS])
        .pluck('key')
    })
  }

  async function forget(repo: string): Promise<void> {
    await forgetRepository(db, repo)
    await db('orphan_objects').where({ key: repo }).delete()
  }

  return { run }
}
