// What a registry token says, in the one form the server works with. The claims are of the wire contract: a
// list of repositories, or seed 000's `repos` with one `scope`, or a scope that is wider than any list.
import { z } from 'zod'
import { TenantName } from './tenant.ts'

export const RepoAccess = z.object({
  repo: z.string().min(1),
  scope: z.enum(['pull', 'push', 'delete']),
})
/** `push` and `delete` include `pull`. */
export type RepoAccess = z.infer<typeof RepoAccess>

/** Every repository, or those of the token's tenant. */
export const WideScope = z.enum(['admin:*', 'tenant:*'])
export type WideScope = z.infer<typeof WideScope>

/** Which build (if any) may do what. */
export interface RegistryGrant {
  subject: string
  buildId: string | undefined
  tenant: string | undefined
  access: RepoAccess[]
  wide: WideScope | undefined
  /** Whose names it may list, without a right to anything in them. */
  catalog: WideScope | undefined
  /** Of a build's token: the hash of the lease it ends with. */
  jti: string
  expiresAt: Date
}

export const RegistryClaims = z
  .object({
    sub: z.string().min(1),
    build_id: z.string().min(1).optional(),
    tenant: TenantName.optional(),
    repo_access: z.array(RepoAccess).optional(),
    repos: z.array(z.string().min(1)).optional(),
    scope: z.enum(['pull', 'push', ...WideScope.options]).optional(),
    catalog: WideScope.optional(),
    jti: z.string(),
    exp: z.number(),
  })
  .refine(({ repo_access, repos, scope }) => repo_access ?? (repos && scope) ?? isWide(scope), {
    error: 'names no repositories',
  })
  .refine(({ scope, tenant }) => scope !== 'tenant:*' || tenant, { error: 'names no tenant' })

export function grantOf(claims: z.infer<typeof RegistryClaims>): RegistryGrant {
  const { sub, build_id, tenant, repo_access = [], repos = [], scope, catalog, jti, exp } = claims
  const wide = isWide(scope) ? scope : undefined
  const legacy = scope === undefined || isWide(scope) ? [] : repos.map((repo) => ({ repo, scope }))
  return {
    subject: sub,
    buildId: build_id,
    tenant,
    access: repo_access.length > 0 ? repo_access : legacy,
    wide,
    catalog,
    jti,
    expiresAt: new Date(exp * 1000),
  }
}

function isWide(scope: string | undefined): scope is WideScope {
  return WideScope.safeParse(scope).success
}
