// How many pushes a token and a tenant may have under way: each holds a git process and a hook for as long as
// somebody watches its build.
import type { Principal } from '../auth/principal.ts'
import { AppError } from '../errors.ts'
import { PUSHES_PER_TENANT_MAX, PUSHES_PER_TOKEN_MAX } from '../limits.ts'
import { createPlaces } from '../places.ts'

export interface PushLimits {
  perToken: number
  perTenant: number
}

const DEFAULTS: PushLimits = { perToken: PUSHES_PER_TOKEN_MAX, perTenant: PUSHES_PER_TENANT_MAX }

export function createPushPlaces({ perToken, perTenant }: PushLimits = DEFAULTS) {
  const places = createPlaces()
  const keysOf = ({ jti, tenant }: Principal) =>
    [
      [`token ${jti}`, perToken, 'with this token'],
      [`tenant ${tenant}`, perTenant, `of ${tenant}`],
    ] as const

  /** Throws AppError `too_many_pushes`. */
  function requirePlace(principal: Principal): void {
    for (const [key, max, whose] of keysOf(principal)) {
      if (places.taken(key) < max) continue
      throw new AppError(
        'too_many_pushes',
        `${max} pushes ${whose} are under way; no more are taken`,
        { hint: 'push again when one has ended; git push -o detach ends when its build is queued' },
      )
    }
  }

  return {
    requirePlace,

    /** Returns what gives the place back. Throws AppError `too_many_pushes`. */
    take(principal: Principal): () => void {
      requirePlace(principal)
      return places.take(keysOf(principal).map(([key]) => key))
    },
  }
}
