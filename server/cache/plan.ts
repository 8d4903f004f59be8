// Which caches a build reads and which it writes (seed 002's table), and what its registry token may therefore
// do. Whether a build is an admin's was decided by permission when it was submitted.
import type { CacheUse } from '../../agent/protocol.ts'
import type { RepoAccess } from '../auth/registry-claims.ts'
import type { BuildRequest } from '../builds/request-schema.ts'
import type { CacheFacts } from '../builds/schema.ts'
import { globalCache, tenantCache } from './keys.ts'

export interface CachePlan {
  /** Repositories, in the order in which they are asked. */
  imports: string[]
  export?: string
}

export function cachePlan(tenant: string, request: BuildRequest): CachePlan {
  const { is_admin_build: isAdmin, global_cache_key: key, cache_scope: scope, runtime } = request
  const global = key === undefined ? undefined : globalCache(key)
  const own = isAdmin || scope === undefined ? undefined : tenantCache({ tenant, scope, runtime })
  const target = isAdmin ? global : own
  return {
    imports: request.no_cache ? [] : [global, own].filter((repo) => repo !== undefined),
    ...(target === undefined ? {} : { export: target }),
  }
}

/** `push` includes `pull`. */
export function cacheAccess(plan: CachePlan): RepoAccess[] {
  const pulled = plan.imports.filter((repo) => repo !== plan.export)
  return [
    ...pulled.map((repo) => ({ repo, scope: 'pull' as const })),
    ...(plan.export === undefined ? [] : [{ repo: plan.export, scope: 'push' as const }]),
  ]
}

/** What the build did with its caches; the agent's word counts within the plan only. */
export function cacheUsed(
  plan: CachePlan,
  use: CacheUse | undefined,
): Pick<CacheFacts, 'imported' | 'exported'> {
  const imported = plan.imports.filter((repo) => use?.imported.includes(repo))
  const exported = use?.exported && plan.export !== undefined ? { exported: plan.export } : {}
  return { imported, ...exported }
}
