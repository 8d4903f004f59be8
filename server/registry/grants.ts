// What a caller may do with a repository: the one place that decides this, used by minting, by the proxy and
// by the token endpoint alike.
import { may, type Principal } from '../auth/principal.ts'
import type { RegistryGrant, RepoAccess, WideScope } from '../auth/registry-claims.ts'
import { isMirror } from './names.ts'

/** A registry token (of a build, an operator, or from the token endpoint) or a person with an API token. */
export type Caller =
  | { kind: 'grant'; grant: RegistryGrant }
  | { kind: 'user'; principal: Principal }

export type RepoAction = RepoAccess['scope']

export interface GrantsOptions {
  tenantOfBuild(buildId: string): Promise<string | undefined>
  /** Whether the build still runs under that lease and nobody has asked to cancel it. */
  runsUnder(buildId: string, leaseHash: string): Promise<boolean>
}

export type Grants = ReturnType<typeof createGrants>

/** What the token of a build is minted with. */
export function accessOfBuild({ id }: { id: string }): RepoAccess[] {
  return [{ repo: `builds/${id}`, scope: 'push' }]
}

export function createGrants({ tenantOfBuild, runsUnder }: GrantsOptions) {
  /** A token of a build, and what was had for it, is nothing from the moment the build ends or loses its lease. */
  async function isLive(caller: Caller): Promise<boolean> {
    if (caller.kind === 'user' || caller.grant.buildId === undefined) return true
    return runsUnder(caller.grant.buildId, caller.grant.jti)
  }

  async function allows(caller: Caller, repo: string, action: RepoAction): Promise<boolean> {
    // Only what a mirrored registry gives gets there.
    if (isMirror(repo) && action !== 'pull') return false
    if (caller.kind === 'user') return userAllows(caller.principal, repo, action)
    const { grant } = caller
    if (isListed(grant, repo, action)) return true
    return grant.wide !== undefined && wideAllows(grant, repo, action)
  }

  async function userAllows(user: Principal, repo: string, action: RepoAction): Promise<boolean> {
    if (!PERMISSIONS[action].some((permission) => may(user, permission))) return false
    if (isLibrary(repo)) return action === 'pull' || user.admin
    if (isMirror(repo)) return true
    if (action === 'push') return false
    if (action === 'delete') return areaOf(repo) === 'apps' && (await isOf(user.tenant, repo))
    return user.admin || isOf(user.tenant, repo)
  }

  async function wideAllows(
    { wide, tenant, buildId }: RegistryGrant,
    repo: string,
    action: RepoAction,
  ): Promise<boolean> {
    if (wide === 'admin:*') return action !== 'delete' || buildId === undefined
    if (tenant === undefined || action === 'delete') return false
    if (action === 'pull' && isForAll(repo)) return true
    // The image of a build is pushed by that build and nobody else.
    return (action === 'pull' || areaOf(repo) !== 'builds') && isOf(tenant, repo)
  }

  async function isOf(tenant: string, repo: string): Promise<boolean> {
    const [area, owner = '', ...rest] = repo.split('/')
    if (area === 'builds' && rest.length === 0) return (await tenantOfBuild(owner)) === tenant
    return (area === 'apps' || area === 'cache') && owner === tenant && rest.length > 0
  }

  /** Who pulled what from a mirrored registry is the business of nobody else. */
  async function isListable(caller: Caller, repo: string): Promise<boolean> {
    if (isMirror(repo) && !isOperator(caller)) return false
    return allows(caller, repo, 'pull')
  }

  return {
    isLive,
    allows,

    /** Of what a client asks for, what it may have; who may not write may still read. */
    async intersect(caller: Caller, asked: readonly RepoAccess[]): Promise<RepoAccess[]> {
      const granted = new Map<string, RepoAccess>()
      for (const { repo, scope } of asked) {
        for (const each of new Set<RepoAction>([scope, 'pull'])) {
          if (!(await allows(caller, repo, each))) continue
          granted.set(`${repo} ${each}`, { repo, scope: each })
          break
        }
      }
      return [...granted.values()]
    },

    /** Whose names the catalog lists to the caller beyond those it is granted one by one. */
    catalogScope(caller: Caller): WideScope | undefined {
      if (caller.kind === 'grant') return caller.grant.catalog ?? caller.grant.wide
      const { principal } = caller
      if (!PERMISSIONS.pull.some((permission) => may(principal, permission))) return undefined
      return principal.admin ? 'admin:*' : 'tenant:*'
    },

    /** Of many repositories those the caller may list, in the same order. */
    async listable(whose: Caller, repos: readonly string[]): Promise<string[]> {
      const caller = whose.kind === 'grant' ? asLister(whose.grant) : whose
      const allowed: string[] = []
      for (let n = 0; n < repos.length; n += LOOKUPS_AT_ONCE) {
        const some = repos.slice(n, n + LOOKUPS_AT_ONCE)
        const may = await Promise.all(some.map((repo) => isListable(caller, repo)))
        allowed.push(...some.filter((_, m) => may[m]))
      }
      return allowed
    },
  }
}

const LOOKUPS_AT_ONCE = 8

function isOperator(caller: Caller): boolean {
  return caller.kind === 'user' ? caller.principal.admin : caller.grant.wide === 'admin:*'
}

function asLister(grant: RegistryGrant): Caller {
  return { kind: 'grant', grant: { ...grant, wide: grant.catalog ?? grant.wide } }
}

const PERMISSIONS: Record<RepoAction, readonly string[]> = {
  pull: ['build:read', 'registry:read'],
  push: ['registry:write'],
  delete: ['registry:delete'],
}

function isListed(grant: RegistryGrant, repo: string, action: RepoAction): boolean {
  // A build deletes nothing, whatever its token says.
  if (action === 'delete' && grant.buildId !== undefined) return false
  // Every build may read the base images; a person's token says for itself what it may read.
  if (action === 'pull' && grant.buildId !== undefined && isForAll(repo)) return true
  return grant.access.some(
    (access) => access.repo === repo && (access.scope === action || action === 'pull'),
  )
}

const isLibrary = (repo: string) => repo.startsWith('library/')
const isForAll = (repo: string) => isLibrary(repo) || isMirror(repo)
const areaOf = (repo: string) => repo.split('/', 1)[0]
