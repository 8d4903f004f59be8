// Dropping the cache of an app: its scope's repository, those of each runtime its builds had, and what its own
// builder holds.
import type { Apps } from '../apps/service.ts'
import type { Principal } from '../auth/principal.ts'
import type { Builders } from '../builders/service.ts'
import type { Db } from '../db/pool.ts'
import type { Log } from '../telemetry/log.ts'
import { appCacheScope, tenantCache } from './keys.ts'

export interface AppCacheOptions {
  db: Db
  apps: Pick<Apps, 'get'>
  builders: Pick<Builders, 'pruneOfApp'>
  /** Empties a repository; also fine when there is none. */
  deleteTags(repository: string): Promise<unknown>
  log: Log
}

export type AppCache = ReturnType<typeof createAppCache>

export function createAppCache({ db, apps, builders, deleteTags, log }: AppCacheOptions) {
  async function runtimesOf(tenant: string, scope: string): Promise<string[]> {
    const found = await db('builds')
      .where({ tenant })
      .whereRaw(`request->>'cache_scope' = ?`, [scope])
      .whereRaw(`request->>'runtime' is not null`)
      .distinct(db.raw(`request->>'runtime' as runtime`))
    return found.map(({ runtime }) => runtime as string)
  }

  return {
    /** A build that runs meanwhile may write it again at its end. */
    async drop(principal: Principal, name: string, inTenant?: string): Promise<void> {
      const app = await apps.get(principal, name, inTenant)
      const { tenant } = app
      const scope = appCacheScope(app)
      const runtimes = await runtimesOf(tenant, scope)
      for (const runtime of [undefined, ...runtimes]) {
        await deleteTags(tenantCache({ tenant, scope, runtime }))
      }
      await builders.pruneOfApp(app.id)
      log.info({ app: name, tenant, scope, user: principal.user }, 'cache of an app dropped')
    },
  }
}
