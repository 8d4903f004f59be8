// The server role's side: gives the attempt that holds a build's lease its registry token and its secrets. The
// keys behind both never leave this process.
import type { Tokens } from '../auth/tokens.ts'
import { secretRefsOf } from '../builds/secret-refs.ts'
import type { BuildRow, BuildStore } from '../builds/store.ts'
import { cacheAccess, cachePlan } from '../cache/plan.ts'
import { AppError, asError } from '../errors.ts'
import { CLOCK_JUMP_SPARE_SECONDS, REGISTRY_TOKEN_TTL_MIN_SECONDS } from '../limits.ts'
import { accessOfBuild } from '../registry/grants.ts'
import type { SecretProvider } from '../secrets/provider.ts'
import type { Grant } from './link.ts'

export interface DeskOptions {
  store: Pick<BuildStore, 'get' | 'runsUnder'>
  tokens: Pick<Tokens, 'mintRegistry'>
  secrets: SecretProvider
  buildTimeoutSeconds: number
}

export interface GrantClaim {
  buildId: string
  worker: string
  leaseHash: string
}

export type Desk = ReturnType<typeof createDesk>

export function createDesk({ store, tokens, secrets, buildTimeoutSeconds }: DeskOptions) {
  async function secretsOf(build: BuildRow): Promise<Pick<Grant, 'secrets' | 'secretsError'>> {
    const ids = secretRefsOf(build.request).map(({ id }) => id)
    if (ids.length === 0) return { secrets: new Map() }
    try {
      return { secrets: await secrets.resolve(ids, build) }
    } catch (error) {
      return { secrets: new Map(), secretsError: asError(error).message }
    }
  }

  return {
    /** Throws AppError `conflict` when the build does not run under that lease. May be asked again. */
    async grant({ buildId, worker, leaseHash }: GrantClaim): Promise<Grant> {
      const build = await store.get(buildId)
      if (build?.worker !== worker || !(await store.runsUnder(buildId, leaseHash))) {
        throw new AppError(
          'conflict',
          `build ${buildId} does not run under that lease of ${worker}`,
        )
      }
      const timeout = build.request.build_policy?.timeout_seconds ?? buildTimeoutSeconds
      const registryToken = await tokens.mintRegistry({
        buildId,
        tenant: build.tenant,
        access: [...accessOfBuild(build), ...cacheAccess(cachePlan(build.tenant, build.request))],
        leaseHash,
        ttlSeconds: Math.max(timeout, REGISTRY_TOKEN_TTL_MIN_SECONDS) + CLOCK_JUMP_SPARE_SECONDS,
      })
      return { registryToken, ...(await secretsOf(build)) }
    },
  }
}
