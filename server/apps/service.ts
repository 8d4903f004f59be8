// The rules around apps: whose they are, and that a row and its repository live and die together.
// What is not yours is not found.
import { createId } from '@paralleldrive/cuid2'
import { may, type Principal } from '../auth/principal.ts'
import type { Db } from '../db/pool.ts'
import { AppError, asError, invalidRequest, notFound } from '../errors.ts'
import { forgetApp } from '../retention/removed-app.ts'
import type { Log } from '../telemetry/log.ts'
import { type App, AppName, type AppSettings, toWire, type UpdateApp } from './schema.ts'
import { createAppStore } from './store.ts'

/** What of the repositories an app needs. */
export interface AppRepositories {
  create(appId: string): Promise<unknown>
  /** Also fine when there is none. */
  remove(appId: string): Promise<unknown>
}

export interface AppsOptions {
  db: Db
  repositories: AppRepositories
  log: Log
}

export interface AppKey {
  name: string
  /** Default: the principal's own. */
  tenant?: string | undefined
}

export type Apps = ReturnType<typeof createApps>

export function createApps({ db, repositories, log }: AppsOptions) {
  const store = createAppStore({ db })

  async function find(principal: Principal, { name, tenant }: AppKey): Promise<App | undefined> {
    if (!mayEnter(principal, tenant) || !AppName.safeParse(name).success) return undefined
    return store.find(tenant ?? principal.tenant, name)
  }

  async function own(principal: Principal, key: AppKey): Promise<App> {
    const app = await find(principal, key)
    if (!app) throw notFound('app')
    return app
  }

  /** Row and repository, or neither; undefined when the name is taken. */
  async function make(tenant: string, name: string, settings: AppSettings = {}) {
    const id = createId()
    try {
      return await db.transaction(async (trx) => {
        const app = await store.insert(trx, { id, tenant, name, settings: toWire(settings) })
        if (app) await repositories.create(id)
        return app
      })
    } catch (error) {
      await undoRepository(id)
      throw error
    }
  }

  // A commit whose answer was lost may have happened: without certainty the repository stays, since one that
  // nobody knows does no harm and an app without one does.
  async function undoRepository(id: string): Promise<void> {
    try {
      if ((await store.byId(id)) === undefined) await repositories.remove(id)
    } catch (error) {
      log.warn({ err: asError(error).message, appId: id }, 'repository of a failed app left behind')
    }
  }

  return {
    async create(principal: Principal, key: AppKey & { settings?: AppSettings }): Promise<App> {
      if (!mayEnter(principal, key.tenant)) throw notFound('tenant')
      const tenant = key.tenant ?? principal.tenant
      const app = await make(tenant, key.name, key.settings)
      if (!app) throw new AppError('already_exists', `app ${key.name} already exists`)
      log.info({ app: app.name, tenant, user: principal.user }, 'app created')
      return app
    },

    get: (principal: Principal, name: string, tenant?: string): Promise<App> =>
      own(principal, { name, tenant }),

    async list(principal: Principal, tenant?: string): Promise<App[]> {
      if (!mayEnter(principal, tenant)) {
        throw new AppError(
          'forbidden',
          `apps of tenant ${tenant} are for its own tokens and admins`,
        )
      }
      return store.list(tenant ?? principal.tenant)
    },

    async update(
      principal: Principal,
      name: string,
      change: UpdateApp,
      tenant?: string,
    ): Promise<App> {
      const { id } = await own(principal, { name, tenant })
      const app = await store.update(id, change)
      if (!app) throw notFound('app')
      log.info({ app: name, tenant: app.tenant, settings: Object.keys(change) }, 'app changed')
      return app
    },

    /** Refused while a build of it is queued or running. */
    async remove(principal: Principal, name: string, tenant?: string): Promise<void> {
      const app = await own(principal, { name, tenant })
      await db.transaction(async (trx) => {
        if (!(await store.lock(trx, app.id))) throw notFound('app')
        const live = await store.hasLiveBuild(trx, app.id)
        if (live !== undefined) {
          throw new AppError(
            'conflict',
            `app ${name} has a build under way (${live}); cancel it or wait for its end`,
          )
        }
        await forgetApp(trx, app)
        await store.remove(trx, app.id)
        // Last before the commit: when it fails the row stays, and the next attempt ends the work.
        await repositories.remove(app.id)
      })
      log.info({ app: name, tenant: app.tenant, user: principal.user }, 'app removed')
    },

    /** For git: null when there is none, or it is not the caller's. */
    async findForGit(principal: Principal, key: AppKey): Promise<App | null> {
      return (await find(principal, key)) ?? null
    },

    /** The first push makes the app, if the token may; two first pushes at once make one. */
    async createForPush(principal: Principal, key: AppKey): Promise<App> {
      if (!mayEnter(principal, key.tenant)) throw notFound('app')
      for (const permission of ['app:write', 'build:write']) {
        if (!may(principal, permission)) {
          throw new AppError('forbidden', `missing required scope: ${permission}`, {
            hint: `there is no app ${key.name} yet, and this token may not create it`,
          })
        }
      }
      const name = AppName.safeParse(key.name)
      if (!name.success) {
        throw invalidRequest(
          `app name ${JSON.stringify(key.name)} ${name.error.issues[0]?.message}`,
        )
      }
      const tenant = key.tenant ?? principal.tenant
      const app = (await make(tenant, name.data)) ?? (await own(principal, key))
      log.info({ app: app.name, tenant, user: principal.user }, 'app ready for its first push')
      return app
    },

    /** Every app of every tenant, for the reconciler. */
    all: (): Promise<App[]> => store.list(),

    byId: (id: string): Promise<App | undefined> => store.byId(id),
  }
}

function mayEnter(principal: Principal, tenant: string | undefined): boolean {
  return tenant === undefined || tenant === principal.tenant || principal.admin
}
