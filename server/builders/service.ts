// The rules around builders: whose they are, when they may go, and which one a build gets.
import { createId } from '@paralleldrive/cuid2'
import type { Knex } from 'knex'
import type { Principal } from '../auth/principal.ts'
import type { Db, Queryable } from '../db/pool.ts'
import { AppError, notFound } from '../errors.ts'
import { BUILDER_DISK_GB_DEFAULT, BUILDERS_PER_TENANT_MAX } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import type { Builder, BuilderUse, CreateBuilder } from './schema.ts'
import { createBuilderStore } from './store.ts'

export interface BuildersOptions {
  db: Db
  log: Log
  /** Whether apps get a builder of their own; without disks it would only queue their builds up. */
  forApps: boolean
  perTenantMax?: number
}

/** The app a build is of, as far as builders care. */
export interface BuilderApp {
  id: string
  name: string
  tenant: string
  /** `default`, `off` or the id of a builder. */
  builder?: string | undefined
}

export type Builders = ReturnType<typeof createBuilders>

export function createBuilders({
  db,
  log,
  forApps,
  perTenantMax = BUILDERS_PER_TENANT_MAX,
}: BuildersOptions) {
  const store = createBuilderStore({ db })

  /** Runs it on a builder that has no build and gets none meanwhile. */
  async function alone(
    { tenant }: Principal,
    id: string,
    work: (trx: Knex.Transaction, builder: Builder) => Promise<void>,
  ): Promise<void> {
    await db.transaction(async (trx) => {
      if (!(await store.lock(trx, tenant, id))) throw notFound('builder')
      const builder = (await store.find(tenant, id, trx))!
      if (builder.activeBuildId !== undefined) {
        throw new AppError(
          'conflict',
          `builder ${id} is in use by build ${builder.activeBuildId}; wait for it or cancel it`,
        )
      }
      await work(trx, builder)
    })
  }

  async function get({ tenant }: Principal, id: string): Promise<Builder> {
    const builder = await store.find(tenant, id)
    if (!builder) throw notFound('builder')
    return builder
  }

  async function made(trx: Queryable, { id: appId, name, tenant }: BuilderApp): Promise<Builder> {
    const known = await store.ofApp(trx, appId)
    if (known) return known
    const diskSizeGb = BUILDER_DISK_GB_DEFAULT
    const added = await store.insert(trx, { tenant, id: createId(), name, appId, diskSizeGb })
    return added ?? (await store.ofApp(trx, appId))!
  }

  return {
    get,

    async create(principal: Principal, wanted: CreateBuilder): Promise<Builder> {
      const { tenant } = principal
      const { id = createId(), name, tags, disk_size_gb: diskSizeGb } = wanted
      const builder = await db.transaction(async (trx) => {
        await store.lockTenant(trx, tenant)
        if ((await store.count(trx, tenant)) >= perTenantMax) {
          throw new AppError(
            'conflict',
            `${tenant} has ${perTenantMax} builders already; delete one first`,
          )
        }
        const size = diskSizeGb ?? BUILDER_DISK_GB_DEFAULT
        const added = await store.insert(trx, { tenant, id, name, tags, diskSizeGb: size })
        if (!added) throw new AppError('already_exists', `there is a builder ${id} already`)
        return added
      })
      log.info({ tenant, builder: id, user: principal.user }, 'builder made')
      return builder
    },

    list: ({ tenant }: Principal, tags?: Record<string, string>) => store.list({ tenant, tags }),

    async remove(principal: Principal, id: string): Promise<void> {
      await alone(principal, id, async (trx, builder) => {
        const [waiting] = builder.queuedBuilds
        if (waiting !== undefined) {
          throw new AppError(
            'conflict',
            `builder ${id} is in use: build ${waiting} waits for it; cancel it first`,
          )
        }
        await store.remove(trx, builder.key)
      })
      log.info({ tenant: principal.tenant, builder: id, user: principal.user }, 'builder gone')
    },

    async prune(principal: Principal, id: string): Promise<Builder> {
      await alone(principal, id, (trx, builder) => store.prune(trx, builder.key))
      log.info({ tenant: principal.tenant, builder: id, user: principal.user }, 'builder pruned')
      return get(principal, id)
    },

    /** The next build of the app finds its own builder empty; what a build of it saves now is dropped. */
    async pruneOfApp(appId: string): Promise<void> {
      await db.transaction(async (trx) => {
        const builder = await store.ofApp(trx, appId)
        if (builder) await store.prune(trx, builder.key)
      })
    },

    /** The builder that a request names; throws `not_found` or `conflict`. */
    async named(
      trx: Queryable,
      { tenant, id, appId }: { tenant: string; id: string; appId?: string | undefined },
    ): Promise<BuilderUse> {
      const builder = await store.find(tenant, id, trx)
      if (!builder || !(await store.keep(trx, builder.key))) throw notFound('builder')
      const { key, appId: owner } = builder
      if (owner !== undefined && owner !== appId) {
        throw new AppError(
          'conflict',
          `builder ${id} belongs to an app; only its builds may use it`,
        )
      }
      // The builder of an app changes by pushes to its deploy branches alone.
      return { key, id, promotes: owner === undefined }
    },

    /** The builder that an app's settings give its builds; made when it is wanted first. */
    async ofApp(
      trx: Queryable,
      app: BuilderApp,
      { promotes }: { promotes: boolean },
    ): Promise<BuilderUse | undefined> {
      const { builder: wanted = 'default', tenant } = app
      if (wanted === 'off') return undefined
      if (wanted === 'default') {
        if (!forApps) return undefined
        const { key, id } = await made(trx, app)
        return (await store.keep(trx, key)) ? { key, id, promotes } : undefined
      }
      const builder = await store.find(tenant, wanted, trx)
      const isUsable = builder && (builder.appId ?? app.id) === app.id
      if (!isUsable || !(await store.keep(trx, builder.key))) return undefined
      return { key: builder.key, id: builder.id, promotes }
    },
  }
}
