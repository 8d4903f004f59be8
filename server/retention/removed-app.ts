// What an app leaves outside its rows when it is removed: its caches are marked here. Its images and sources are
// known by builds whose app is no more.
import type { App } from '../apps/schema.ts'
import { fromWire } from '../apps/schema.ts'
import { cacheRepositories } from '../cache/app-repositories.ts'
import { appCacheScope } from '../cache/keys.ts'
import { notify } from '../db/notices.ts'
import type { Queryable } from '../db/pool.ts'

/** In the transaction that removes the app, before its row goes. */
export async function forgetApp(trx: Queryable, app: App): Promise<void> {
  const { id, tenant } = app
  const scope = appCacheScope(app)
  const others = await trx('apps').where({ tenant }).whereNot({ id }).select('name', 'settings')
  const isShared = others.some(
    ({ name, settings }) => appCacheScope({ name, settings: fromWire(settings) }) === scope,
  )
  if (!isShared) {
    const repositories = await cacheRepositories(trx, { tenant, scope, builds: { app_id: id } })
    await trx('repository_use')
      .insert(repositories.map((repo) => ({ repo, doomed_at: trx.raw('clock_timestamp()') })))
      .onConflict('repo')
      .merge(['doomed_at'])
  }
  notify(trx, 'hypeman_retention', 'app removed')
  notify(trx, 'hypeman_builders', '')
}
