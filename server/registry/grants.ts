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
  /** Whether the build still runs under that lease and nobody has asked to cancel it. */
  runsUnder(buildId: string, leaseHash: string): Promise<boolean>
}

export type Grants = ReturnType<typeof createGrants>

export function createGrants({ tenantOfBuild, runsUnder }: GrantsOptions) {
  async function allows(caller: Caller, repo: string, action: RepoAction): Promise<boolean> {
    if (caller.kind === 'grant') {
      const { grant } = caller
      if (!grantAllows(grant, repo, action)) return false
      // A VM that outlives its lease or its cancel has nothing to push any more.
      if (action === 'pull' || grant.buildId === undefined) return true
      return runsUnder(grant.buildId, grant.jti)
    }
    return userAllows(caller.principal, repo, action)
  }

  async function userAllows(user: Principal, repo: string, action: RepoAction): Promise<boolean> {
    if (action !== 'pull') return isLibrary(repo) && user.admin && may(user, WRITES[action])
    if (!may(user, 'build:read') && !may(user, 'registry:read')) return false
    if (isLibrary(repo) || user.admin) return true
    const [area, owner = '', ...rest] = repo.split('/')
    if (area === 'builds' && rest.length === 0) return (await tenantOfBuild(owner)) === user.tenant
    return area === 'apps' && owner === user.tenant && rest.length > 0
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

const WRITES = { push: 'registry:write', delete: 'registry:delete' } as const

function grantAllows(grant: RegistryGrant, repo: string, action: RepoAction): boolean {
  // Nothing but an operator's own API token deletes.
  if (action === 'delete') return false
  // Every build may read the base images; a person's token says for itself what it may read.
  if (action === 'pull' && grant.buildId !== undefined && isLibrary(repo)) return true
  return grant.access.some(
    (access) => access.repo === repo && (access.scope === 'push' || action === 'pull'),
  )
}

const isLibrary = (repo: string) => repo.startsWith('library/')
