// The rules around builders: whose they are, when they may go, and which one a build gets.
import { createId } from '@paralleldrive/cuid2'
import type { Knex } from 'knex'
import { may, type Principal } from '../auth/principal.ts'
import type { Db, Queryable } from '../db/pool.ts'
import { AppError, invalidRequest, notFound } from '../errors.ts'
import {
  BUILDER_DISK_GB_DEFAULT,
  BUILDER_DISK_SHARE_MAX,
  BUILDER_DISKS_GB_DEFAULT,
  BUILDERS_PER_TENANT_MAX,
} from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import type { Builder, BuilderUse, CreateBuilder } from './schema.ts'
import { createBuilderStore } from './store.ts'

export interface BuildersOptions {
  db: Db
  log: Log
  /** Whether apps get a builder of their own; without disks it would only queue their builds up. */
  forApps: boolean
  perTenantMax?: number
  /** What all disks of a worker may take together. */
  disksMaxGb?: number
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
  disksMaxGb = BUILDER_DISKS_GB_DEFAULT,
}: BuildersOptions) {
  const store = createBuilderStore({ db })
  const sizeMaxGb = Math.max(1, Math.floor(disksMaxGb * BUILDER_DISK_SHARE_MAX))
  const sizeDefaultGb = Math.min(BUILDER_DISK_GB_DEFAULT, sizeMaxGb)

  /** Runs it on a builder that has no build and gets none meanwhile. */
  async function alone(
    tenant: string,
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

  async function get(principal: Principal, id: string, inTenant?: string): Promise<Builder> {
    const builder = await store.find(tenantFor(principal, inTenant), id)
    if (!builder) throw notFound('builder')
    return builder
  }

  async function made(trx: Queryable, { id: appId, name, tenant }: BuilderApp): Promise<Builder> {
    const known = await store.ofApp(trx, appId)
    if (known) return known
    const builder = { tenant, id: createId(), name, appId, diskSizeGb: sizeDefaultGb }
    const added = await store.insert(trx, builder)
    return added ?? (await store.ofApp(trx, appId))!
  }

  return {
    get,

    async create(principal: Principal, wanted: CreateBuilder): Promise<Builder> {
      const { tenant } = principal
      const { id = createId(), name, tags, disk_size_gb: diskSizeGb = sizeDefaultGb } = wanted
      if (diskSizeGb > sizeMaxGb) {
        const of = `of the ${disksMaxGb} GB that all builders have (BUILDER_DISKS_MAX_GB)`
        throw invalidRequest(`disk_size_gb=${diskSizeGb}: must be at most ${sizeMaxGb}, half ${of}`)
      }
      const builder = await db.transaction(async (trx) => {
        await store.lockTenant(trx, tenant)
        if ((await store.count(trx, tenant)) >= perTenantMax) {
          throw new AppError(
            'conflict',
            `${tenant} has ${perTenantMax} builders already; delete one first`,
          )
        }
        const added = await store.insert(trx, { tenant, id, name, tags, diskSizeGb })
        if (!added) throw new AppError('already_exists', `there is a builder ${id} already`)
        return added
      })
      log.info({ tenant, builder: id, user: principal.user }, 'builder made')
      return builder
    },

    /** Those of the caller's tenant, or of the one that an admin names. */
    async list(
      principal: Principal,
      { tags, tenant }: { tags?: Record<string, string> | undefined; tenant?: string | undefined },
    ): Promise<Builder[]> {
      if (!mayEnter(principal, tenant)) {
        throw new AppError(
          'forbidden',
          `query tenant=${JSON.stringify(tenant)}: builders of another tenant need builder:admin`,
        )
      }
      return store.list({ tenant: tenant ?? principal.tenant, tags })
    },

    async remove(principal: Principal, id: string, inTenant?: string): Promise<void> {
      const tenant = tenantFor(principal, inTenant)
      await alone(tenant, id, async (trx, builder) => {
        const [waiting] = builder.queuedBuilds
        if (waiting !== undefined) {
          throw new AppError(
            'conflict',
            `builder ${id} is in use: build ${waiting} waits for it; cancel it first`,
          )
        }
        await store.remove(trx, builder.key)
      })
      log.info({ tenant, builder: id, user: principal.user }, 'builder gone')
    },

    async prune(principal: Principal, id: string, inTenant?: string): Promise<Builder> {
      const tenant = tenantFor(principal, inTenant)
      await alone(tenant, id, (trx, builder) => store.prune(trx, builder.key))
      log.info({ tenant, builder: id, user: principal.user }, 'builder pruned')
      return get(principal, id, inTenant)
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

function mayEnter(principal: Principal, tenant: string | undefined): boolean {
  return tenant === undefined || tenant === principal.tenant || may(principal, 'builder:admin')
}

/** A builder of a tenant that is not theirs is to others as unknown as one that never was. */
function tenantFor(principal: Principal, asked: string | undefined): string {
  if (!mayEnter(principal, asked)) throw notFound('builder')
  return asked ?? principal.tenant
}
