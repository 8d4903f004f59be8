// Tenants: a token's own, or one derived from its subject (DESIGN §3).
import { createHash } from 'node:crypto'
import { z } from 'zod'

/** The folder of secrets that every tenant's builds may have. */
export const SHARED = 'shared'
/** Without the first path segments of the registry, and SHARED. */
const SHAPE = /^(?!(?:global|library|builds|cache|apps|shared)$)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/

/** What `tenantOf` makes of subjects that are no tenant names; nobody gets such a tenant by being called so. */
const DERIVED = /^tenant-[0-9a-f]{16}$/

export function isTenantName(name: string): boolean {
  return SHAPE.test(name)
}

export const TenantName = z
  .string()
  .regex(SHAPE, {
    error:
      'must be 3 to 63 lower-case letters, digits or dashes, not beginning or ending with a dash, and not one of global, library, builds, cache, apps, shared',
  })
  .meta({ examples: ['acme'] })

/** The tenant of a token that names none. */
export function tenantOf(sub: string): string {
  if (isTenantName(sub) && !DERIVED.test(sub)) return sub
  return `tenant-${createHash('sha256').update(sub).digest('hex').slice(0, 16)}`
}
