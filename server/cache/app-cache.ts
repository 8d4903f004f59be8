// Dropping the cache of an app: its scope's repository, those of each runtime its builds had, and what its own
// builder holds.
import type { Apps } from '../apps/service.ts'
import type { Principal } from '../auth/principal.ts'
import type { Builders } from '../builders/service.ts'
import type { Db } from '../db/pool.ts'
import type { Log } from '../telemetry/log.ts'
import { cacheRepositories } from './app-repositories.ts'
import { appCacheScope } from './keys.ts'

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
  return {
    /** A build that runs meanwhile may write it again at its end. */
    async drop(principal: Principal, name: string, inTenant?: string): Promise<void> {
      const app = await apps.get(principal, name, inTenant)
      const { tenant } = app
      const scope = appCacheScope(app)
      const repositories = await cacheRepositories(db, { tenant, scope, builds: { tenant } })
      for (const repository of repositories) await deleteTags(repository)
      await builders.pruneOfApp(app.id)
      log.info({ app: name, tenant, scope, user: principal.user }, 'cache of an app dropped')
    },
  }
}
