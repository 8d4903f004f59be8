// Repositories of caches and mirrors that nobody has used for a while, and the caches of removed apps. A build that
// misses one is only slower.
import { type Db, rows } from '../db/pool.ts'
import type { RegistryClient } from '../registry/client.ts'
import { emptyRepository } from './delete-one.ts'
import type { RetentionRun } from './report.ts'
import type { RetentionSettings } from './settings.ts'

export interface CacheRetentionOptions {
  db: Db
  registry: Pick<RegistryClient, 'deleteTags' | 'hasTags' | 'repositories'>
  settings: Pick<RetentionSettings, 'cacheDays'>
}

interface Unused {
  repo: string
  is_doomed: boolean
}

const AREAS = ['cache', 'mirror']
const USED = 'greatest(seen_at, pulled_at, pushed_at)'

export function createCacheRetention({ db, registry, settings }: CacheRetentionOptions) {
  const { cacheDays } = settings

  async function run(run: RetentionRun): Promise<void> {
    await discover().catch((error) => run.report.fail('cache', 'catalog of the registry', error))
    for (const { repo: name, is_doomed: isDoomed } of await unused()) {
      if (run.signal.aborted) return
      const reason = isDoomed ? 'its app was removed' : `not used for ${cacheDays} days`
      const noted = { kind: 'cache' as const, name, reason }
      await emptyRepository(run, noted, registry, () => forgetUse(name))
    }
  }

  /** Those that the registry has and nobody has used since uses are written down. */
  async function discover(): Promise<void> {
    for (const area of AREAS) {
      for await (const repos of registry.repositories(area)) {
        await db('repository_use')
          .insert(repos.map((repo) => ({ repo })))
          .onConflict('repo')
          .ignore()
      }
    }
  }

  /** The least recently used first. */
  function unused(): Promise<Unused[]> {
    return rows<Unused>(
      db,
      `select repo, doomed_at is not null as is_doomed from repository_use
       where split_part(repo, '/', 1) = any(:areas)
         and (doomed_at is not null
           or ${USED} < clock_timestamp() - cast(:days as int) * interval '1 day')
       order by ${USED}, repo`,
      { areas: AREAS, days: cacheDays ?? null },
    )
  }

  async function forgetUse(repo: string): Promise<void> {
    await db('repository_use').where({ repo }).delete()
  }

  return { run }
}
