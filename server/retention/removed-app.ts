// What an app leaves outside its rows when it is removed: its caches are marked here. Its images and sources are
// known by builds whose app is no more.
import type { App } from '../apps/schema.ts'
import { fromWire } from '../apps/schema.ts'
import { appCacheScope, tenantCache } from '../cache/keys.ts'
import { notify } from '../db/notices.ts'
import { type Queryable, rows } from '../db/pool.ts'

/** In the transaction that removes the app, before its row goes. */
export async function forgetApp(trx: Queryable, app: App): Promise<void> {
  const { id, tenant } = app
  const scope = appCacheScope(app)
  const others = await trx('apps').where({ tenant }).whereNot({ id }).select('name', 'settings')
  const isShared = others.some(
    ({ name, settings }) => appCacheScope({ name, settings: fromWire(settings) }) === scope,
  )
  if (!isShared) {
    for (const runtime of [undefined, ...(await runtimesOf(trx, id, scope))]) {
      await trx('repository_use')
        .insert({
          repo: tenantCache({ tenant, scope, runtime }),
          doomed_at: trx.raw('clock_timestamp()'),
        })
        .onConflict('repo')
        .merge(['doomed_at'])
    }
  }
  notify(trx, 'hypeman_retention', 'app removed')
  notify(trx, 'hypeman_builders', '')
}

async function runtimesOf(trx: Queryable, appId: string, scope: string): Promise<string[]> {
  const found = await rows<{ runtime: string }>(
    trx,
    `select distinct request->>'runtime' as runtime from builds
     where app_id = ? and request->>'cache_scope' = ? and request->>'runtime' is not null`,
    [appId, scope],
  )
  return found.map(({ runtime }) => runtime)
}
