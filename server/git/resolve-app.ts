// Which app a path of git means, and whether the caller may use it so. What is not the caller's is not found.
import type { App } from '../apps/schema.ts'
import type { Apps } from '../apps/service.ts'
import { may, type Principal } from '../auth/principal.ts'
import { AppError } from '../errors.ts'
import type { GitService } from './adapter.ts'
import type { Repositories } from './repositories.ts'

/** Names are checked by the apps service; here only what is git's is told from what is not. */
const NAME = '[A-Za-z0-9._-]+'
export const APP_GIT = new RegExp(`^/(?:(${NAME})/)?(${NAME})\\.git`)
/** Either lets a token read a repository. */
const READ_PERMISSIONS = ['app:read', 'build:read']

export interface AppTarget {
  tenant: string | undefined
  name: string
}

export interface AppUse {
  service: GitService
  /** When there is none yet, and the token may. */
  mayCreate: boolean
}

export interface ResolveAppOptions {
  apps: Pick<Apps, 'findForGit' | 'createForPush'>
  repositories: Pick<Repositories, 'exists' | 'create'>
}

export type ResolveApp = ReturnType<typeof createResolveApp>

/** Throws AppError `not_found`, `forbidden` or `invalid_request`. */
export function createResolveApp({ apps, repositories }: ResolveAppOptions) {
  return async (principal: Principal, target: AppTarget, use: AppUse): Promise<App> => {
    const { tenant, name } = target
    const isPush = use.service === 'git-receive-pack'
    const found = await apps.findForGit(principal, { tenant, name })
    if (found) {
      requirePermission(principal, isPush ? ['build:write'] : READ_PERMISSIONS)
      if (isPush && !(await repositories.exists(found.id))) await repositories.create(found.id)
      return found
    }
    if (use.mayCreate) return apps.createForPush(principal, { tenant, name })
    throw new AppError('not_found', `there is no app ${tenant ? `${tenant}/` : ''}${name} here`)
  }
}

function requirePermission(principal: Principal, anyOf: readonly string[]): void {
  if (anyOf.some((permission) => may(principal, permission))) return
  throw new AppError('forbidden', `missing required scope: ${anyOf.join(' or ')}`)
}
