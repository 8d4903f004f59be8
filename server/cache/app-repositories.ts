// The repositories in which the caches of an app may be: that of its scope, and one for each runtime that builds with
// this scope had.
import type { Queryable } from '../db/pool.ts'
import { tenantCache } from './keys.ts'

export interface AppScope {
  tenant: string
  scope: string
  /** Whose builds are asked for their runtimes. */
  builds: { tenant: string } | { app_id: string }
}

export async function cacheRepositories(
  db: Queryable,
  { tenant, scope, builds }: AppScope,
): Promise<string[]> {
  const found: { runtime: string }[] = await db('builds')
    .where(builds)
    .whereRaw(`request->>'cache_scope' = ?`, [scope])
    .whereRaw(`request->>'runtime' is not null`)
    .distinct(db.raw(`request->>'runtime' as runtime`))
  const runtimes = [undefined, ...found.map(({ runtime }) => runtime)]
  return runtimes.map((runtime) => tenantCache({ tenant, scope, runtime }))
}
