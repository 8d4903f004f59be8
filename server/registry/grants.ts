// What a caller may do with a repository: the one place that reads claims for this, used by the proxy and
// by the token endpoint alike.
import { may, type Principal } from '../auth/principal.ts'
import type { RegistryGrant, RepoAccess } from '../auth/tokens.ts'

/** A registry token (of a build, or from the token endpoint) or a person with an API token. */
export type Caller =
  | { kind: 'grant'; grant: RegistryGrant }
  | { kind: 'user'; principal: Principal }

export type RepoAction = 'pull' | 'push' | 'delete'

export interface GrantsOptions {
  tenantOfBuild(buildId: string): Promise<string | undefined>
}

export type Grants = ReturnType<typeof createGrants>

export function createGrants({ tenantOfBuild }: GrantsOptions) {
  async function allows(caller: Caller, repo: string, action: RepoAction): Promise<boolean> {
    if (caller.kind === 'grant') return grantAllows(caller.grant, repo, action)
    return userAllows(caller.principal, repo, action)
  }

  function grantAllows(grant: RegistryGrant, repo: string, action: RepoAction): boolean {
    if (action === 'pull' && repo.startsWith('library/')) return true
    // Nothing but an operator's own API token deletes.
    if (action === 'delete') return false
    return grant.access.some(
      (access) => access.repo === repo && (access.scope === 'push' || action === 'pull'),
    )
  }

  async function userAllows(user: Principal, repo: string, action: RepoAction): Promise<boolean> {
    const [area, second, ...rest] = repo.split('/')
    if (action !== 'pull') return area === 'library' && user.admin && may(user, 'registry:write')
    if (!may(user, 'build:read')) return false
    if (area === 'library' || user.admin) return true
    if (area === 'builds' && second && rest.length === 0) {
      return (await tenantOfBuild(second)) === user.tenant
    }
    return area === 'apps' && second === user.tenant
  }

  return {
    allows,

    /** Of what a client asks for, what it may have. */
    async intersect(caller: Caller, asked: readonly RepoAccess[]): Promise<RepoAccess[]> {
      const granted: RepoAccess[] = []
      for (const { repo, scope } of asked) {
        if (scope === 'push' && (await allows(caller, repo, 'push'))) granted.push({ repo, scope })
        else if (await allows(caller, repo, 'pull')) granted.push({ repo, scope: 'pull' })
      }
      return granted
    },
  }
}
