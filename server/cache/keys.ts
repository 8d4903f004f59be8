// Which repository a cache is in. Seed 000's key `{registry}/cache/{tenant_scope}/{runtime}`: the scope is always
// one within the tenant, so no name that a user gives leads out of it. The seed's last part, a hash of the lock
// files, is left out: BuildKit looks into a cache by content, and a changed lock file must find what it left alone.
import type { App } from '../apps/schema.ts'
import { CacheScope } from '../builds/request-schema.ts'

const GLOBAL = 'cache/global'

/** seed 000: lower case, anything else a dash, dashes collapsed and trimmed. */
export function normaliseScope(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9-]/g, '-')
    .replace(/-+/g, '-')
    .replace(/^-|-$/g, '')
}

/** The scope of an app's builds: as it was set, or its own by its name. */
export function appCacheScope({ name, settings }: Pick<App, 'name' | 'settings'>): string {
  if (settings.cacheScope !== undefined) return settings.cacheScope
  const scope = normaliseScope(name)
  return CacheScope.safeParse(scope).success ? scope : `app-${scope}`
}

export function globalCache(key: string): string {
  return `${GLOBAL}/${key}`
}

export interface TenantCacheKey {
  tenant: string
  scope: string
  /** Caches of different runtimes don't mix. */
  runtime?: string | undefined
}

export function tenantCache({ tenant, scope, runtime }: TenantCacheKey): string {
  const repository = `cache/${tenant}/${scope}`
  return runtime === undefined ? repository : `${repository}/${runtime}`
}
