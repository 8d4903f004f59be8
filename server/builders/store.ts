// SQL over `builders` for the API and for those who queue builds. What only the holder of one may write is in
// lease.ts.
import { createId } from '@paralleldrive/cuid2'
import type { Knex } from 'knex'
import { lock } from '../db/advisory-lock.ts'
import { notify } from '../db/notices.ts'
import type { Db, Queryable } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { WITHIN_TENANT } from '../queue/order.ts'
import { BUSY, EMPTIED, RELEASED } from './busy.ts'
import type { Builder } from './schema.ts'

export interface NewBuilder {
  tenant: string
  id: string
  name?: string | undefined
  appId?: string | undefined
  diskSizeGb: number
  tags?: Record<string, string> | undefined
}

export interface ListBuilders {
  tenant: string
  /** All of them. */
  tags?: Record<string, string> | undefined
}

const SHOWN = `builders.*, ${BUSY} as busy, array(
  select id from builds where builder_key = builders.key and status = 'queued' order by ${WITHIN_TENANT}
) as queued_builds`

export function createBuilderStore({ db }: { db: Db }) {
  return {
    /** Orders those who make builders of one tenant, until the transaction ends. */
    lockTenant: (trx: Knex.Transaction, tenant: string) => lock(trx, `builders:${tenant}`),

    /** Those that were asked for; builders of apps do not count. */
    async count(trx: Queryable, tenant: string): Promise<number> {
      const query = trx('builders').where({ tenant, app_id: null })
      const [row] = await query.count({ count: '*' })
      return Number(row?.count)
    },

    /** undefined when the id is taken, or the app has one. */
    async insert(trx: Queryable, builder: NewBuilder): Promise<Builder | undefined> {
      const [row] = await trx('builders')
        .insert({
          key: createId(),
          tenant: builder.tenant,
          id: builder.id,
          name: builder.name ?? null,
          app_id: builder.appId ?? null,
          disk_size_gb: builder.diskSizeGb,
          tags: JSON.stringify(builder.tags ?? {}),
        })
        .onConflict()
        .ignore()
        .returning('*')
      return row && toBuilder({ ...row, busy: false, queued_builds: [] })
    },

    async find(tenant: string, id: string, from: Queryable = db): Promise<Builder | undefined> {
      const [row] = await rows<object>(
        from,
        `select ${SHOWN} from builders where tenant = :tenant and id = :id`,
        { tenant, id },
      )
      return row && toBuilder(row)
    },

    async ofApp(trx: Queryable, appId: string): Promise<Builder | undefined> {
      const [row] = await rows<object>(trx, `select ${SHOWN} from builders where app_id = :appId`, {
        appId,
      })
      return row && toBuilder(row)
    },

    /** Its row stays as it is named until the transaction ends. */
    async keep(trx: Queryable, key: string): Promise<boolean> {
      return (await trx('builders').where({ key }).forKeyShare().first('key')) !== undefined
    },

    async list({ tenant, tags = {} }: ListBuilders): Promise<Builder[]> {
      const found = await rows<object>(
        db,
        `select ${SHOWN} from builders
         where tenant = :tenant and tags @> cast(:tags as jsonb)
         order by created_at, id`,
        { tenant, tags: JSON.stringify(tags) },
      )
      return found.map(toBuilder)
    },

    /** Locks the row: no build is claimed for it and none queued before the transaction ends. */
    async lock(trx: Queryable, tenant: string, id: string): Promise<boolean> {
      return (await trx('builders').where({ tenant, id }).forUpdate().first('key')) !== undefined
    },

    async remove(trx: Queryable, key: string): Promise<void> {
      await trx('builders').where({ key }).delete()
      notify(trx, 'hypeman_builders', '')
    },

    /** From now on its disk counts for nothing; a worker removes it and says `ready`. */
    async prune(trx: Queryable, key: string): Promise<void> {
      await trx.raw(
        `update builders
         set status = 'pruning', ${EMPTIED}, ${RELEASED}
         where key = ?`,
        [key],
      )
      notify(trx, 'hypeman_builders', '')
    },
  }
}

// biome-ignore lint/suspicious/noExplicitAny: a row as the driver gives it; this is where it gets its type
function toBuilder(row: any): Builder {
  return {
    key: row.key,
    tenant: row.tenant,
    id: row.id,
    name: row.name ?? undefined,
    appId: row.app_id ?? undefined,
    diskSizeGb: row.disk_size_gb,
    diskUsedBytes: Number(row.generation_bytes ?? 0),
    tags: row.tags,
    status: row.status,
    activeBuildId: row.busy ? (row.active_build_id ?? undefined) : undefined,
    queuedBuilds: row.queued_builds,
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at ?? undefined,
  }
}
