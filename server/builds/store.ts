// SQL over `builds` that any role may use: insert, read, list. What only the holder of a lease may write is
// in queue/lease.ts, the order of the queue in queue/position.ts; what ends a build is in transitions.ts.
import { createHash } from 'node:crypto'
import type { Knex } from 'knex'
import type { BuilderUse } from '../builders/schema.ts'
import { lockShared } from '../db/advisory-lock.ts'
import { notify } from '../db/notices.ts'
import { type Db, type Queryable, rows } from '../db/pool.ts'
import { AppError } from '../errors.ts'
import { QUEUED_BUILDS_PER_TENANT_MAX } from '../limits.ts'
import { lockQueue, refuseWithoutRoom, requireRoom } from './queue-room.ts'
import type { BuildRequest, BuildTags } from './request-schema.ts'
import type { BuildStatus, FailureClass, Provenance } from './schema.ts'
import type { ShownConfig } from './shown-config.ts'

export interface BuildRow {
  id: string
  tenant: string
  appId: string | undefined
  app: string | undefined
  pushId: number | undefined
  ref: string | undefined
  commit: string | undefined
  pusher: string
  status: BuildStatus
  failureClass: FailureClass | undefined
  error: string | undefined
  request: BuildRequest
  sourceKey: string
  sourceHash: string
  sourceBytes: number
  imageDigest: string | undefined
  provenance: Provenance | undefined
  tags: BuildTags
  /** The pod of the latest attempt. */
  builderInstance: string | undefined
  /** The builder whose disk it gets. */
  builderKey: string | undefined
  builderPromotes: boolean
  priority: number
  /** The build of a newer push, for which this one was cancelled. */
  supersededBy: string | undefined
  /** `apps/<tenant>/<app>:<tag>`, when its image went there as the newest of its branch. */
  publishedAs: string | undefined
  /** Of a build that runs before its branch moves: closed until it has. */
  gate: 'closed' | 'open' | undefined
  attempt: number
  leaseToken: string | undefined
  worker: string | undefined
  cancelRequestedAt: Date | undefined
  createdAt: Date
  startedAt: Date | undefined
  claimedAt: Date | undefined
  helloAt: Date | undefined
  pushingAt: Date | undefined
  resultAt: Date | undefined
  completedAt: Date | undefined
  /** Since when its image is no more; the digest stays known. */
  imageExpiredAt: Date | undefined
  /** Since when the lines of its log are no more. */
  logExpiredAt: Date | undefined
  /** Number of its last event. */
  lastSeq: number
}

export interface NewBuild {
  id: string
  tenant: string
  appId?: string
  app?: string
  pushId?: number
  ref?: string
  commit?: string
  pusher: string
  request: BuildRequest
  tags?: BuildTags
  builder?: BuilderUse | undefined
  /** Higher goes first; default 0. */
  priority?: number | undefined
  gate?: 'closed'
  sourceKey: string
  sourceHash: string
  sourceBytes: number
}

export interface ListQuery {
  tenant?: string | undefined
  app?: string | undefined
  status?: BuildStatus | undefined
  /** All of them. */
  tags?: BuildTags | undefined
  /** From this instant on. */
  createdAfter?: Date | undefined
  /** Before this instant. */
  createdBefore?: Date | undefined
  limit: number
  /** Build id: only older ones. */
  before?: string | undefined
}

export type BuildStore = ReturnType<typeof createBuildStore>

export interface BuildStoreOptions {
  db: Db
  queuedMax?: number
}

export function createBuildStore({
  db,
  queuedMax = QUEUED_BUILDS_PER_TENANT_MAX,
}: BuildStoreOptions) {
  return {
    /** Throws AppError `queue_full`: a look before work that would be in vain; insert() is what counts. */
    requireRoom: (tenant: string) => requireRoom(db, tenant, queuedMax),

    /**
     * Inserts a queued build with its first status event; followers and workers hear of it at commit.
     * Throws AppError `queue_full` or `already_exists`. Builds are added through the queue's enqueue().
     */
    async insert(trx: Knex.Transaction, build: NewBuild): Promise<BuildRow> {
      await lockQueue(trx, build.tenant)
      await lockShared(trx, sourceLock(build.sourceKey))
      const columns = newColumns(build)
      const names = Object.keys(columns)
      // By its own snapshot, so not in the statement that waits for the lock.
      const [row] = await rows<{ waiting: number; id: string | null }>(
        trx,
        `with room as (
           select count(*)::int as waiting from builds where tenant = ? and status = 'queued'
         ), added as (
           insert into builds (${names.map((name) => `"${name}"`).join(', ')})
           select ${names.map(() => '?').join(', ')} from room where waiting < ?
           on conflict (id) do nothing
           returning *
         ), told as (
           insert into build_events (build_id, seq, type, content)
           select id, last_seq, 'status', status from added
         )
         select room.waiting, added.* from room left join added on true`,
        [build.tenant, ...Object.values(columns), queuedMax],
      )
      if (row?.id == null) {
        refuseWithoutRoom(build.tenant, row?.waiting ?? 0, queuedMax)
        throw new AppError('already_exists', `there is a build ${build.id} already`)
      }
      notify(trx, 'hypeman_queue', '')
      return toBuild(row)
    },

    async get(id: string, from: Queryable = db): Promise<BuildRow | undefined> {
      const row = await from('builds').where({ id }).first()
      return row && toBuild(row)
    },

    async list(query: ListQuery): Promise<BuildRow[]> {
      const select = db('builds').orderBy([
        { column: 'created_at', order: 'desc' },
        { column: 'id', order: 'desc' },
      ])
      if (query.tenant !== undefined) select.where({ tenant: query.tenant })
      if (query.app !== undefined) select.where({ app: query.app })
      if (query.status !== undefined) select.where({ status: query.status })
      if (query.tags !== undefined) {
        select.whereRaw('tags @> cast(? as jsonb)', [JSON.stringify(query.tags)])
      }
      if (query.createdAfter) select.where('created_at', '>=', query.createdAfter)
      if (query.createdBefore) select.where('created_at', '<', query.createdBefore)
      if (query.before !== undefined) {
        select.whereRaw(
          '(created_at, id) < (select b.created_at, b.id from builds b where b.id = ?)',
          [query.before],
        )
      }
      const found = await select.limit(query.limit)
      return found.map(toBuild)
    },

    async config(id: string): Promise<ShownConfig | undefined> {
      const row = await db('builds').where({ id }).first('config')
      return row?.config ?? undefined
    },

    async tenantOf(id: string): Promise<string | undefined> {
      const row = await db('builds').where({ id }).first('tenant')
      return row?.tenant
    },

    /** Whether an attempt of the build still runs under the lease with this hash, and may go on. */
    async runsUnder(id: string, leaseHash: string): Promise<boolean> {
      const row = await db('builds')
        .where({ id, cancel_requested_at: null, result_at: null })
        .whereIn('status', ['building', 'pushing'])
        .first('lease_token')
      return row?.lease_token != null && hashLease(row.lease_token) === leaseHash
    },
  }
}

function newColumns(build: NewBuild) {
  return {
    id: build.id,
    tenant: build.tenant,
    app_id: build.appId ?? null,
    app: build.app ?? null,
    push_id: build.pushId ?? null,
    ref: build.ref ?? null,
    commit: build.commit ?? null,
    pusher: build.pusher,
    request: JSON.stringify(requestOf(build)),
    builder_key: build.builder?.key ?? null,
    builder_promotes: build.builder?.promotes ?? false,
    gate: build.gate ?? null,
    tags: JSON.stringify(build.tags ?? {}),
    priority: build.priority ?? 0,
    source_key: build.sourceKey,
    source_hash: build.sourceHash,
    source_bytes: build.sourceBytes,
    /** That of its first status. */
    last_seq: 1,
  }
}

/** Of those who queue a build with a source, and of who removes sources that no build needs. */
export const sourceLock = (key: string) => `source:${key}`

/** With the builder it really got. */
function requestOf({ request: { builder_id: _, ...request }, builder }: NewBuild): BuildRequest {
  return builder ? { ...request, builder_id: builder.id } : request
}

/** What may be known of a lease token outside its worker. */
export function hashLease(leaseToken: string): string {
  return createHash('sha256').update(leaseToken).digest('hex')
}

// biome-ignore lint/suspicious/noExplicitAny: a row as the driver gives it; this is where it gets its type
export function toBuild(row: any): BuildRow {
  return {
    id: row.id,
    tenant: row.tenant,
    appId: row.app_id ?? undefined,
    app: row.app ?? undefined,
    pushId: row.push_id ?? undefined,
    ref: row.ref ?? undefined,
    commit: row.commit ?? undefined,
    pusher: row.pusher,
    status: row.status,
    failureClass: row.failure_class ?? undefined,
    error: row.error ?? undefined,
    request: row.request,
    sourceKey: row.source_key,
    sourceHash: row.source_hash,
    sourceBytes: row.source_bytes,
    imageDigest: row.image_digest ?? undefined,
    provenance: row.provenance ?? undefined,
    tags: row.tags,
    builderInstance: row.builder_instance ?? undefined,
    builderKey: row.builder_key ?? undefined,
    builderPromotes: row.builder_promotes,
    priority: row.priority,
    supersededBy: row.superseded_by ?? undefined,
    publishedAs: row.published_as ?? undefined,
    gate: row.gate ?? undefined,
    attempt: row.attempt,
    leaseToken: row.lease_token ?? undefined,
    worker: row.worker ?? undefined,
    cancelRequestedAt: row.cancel_requested_at ?? undefined,
    createdAt: row.created_at,
    startedAt: row.started_at ?? undefined,
    claimedAt: row.claimed_at ?? undefined,
    helloAt: row.hello_at ?? undefined,
    pushingAt: row.pushing_at ?? undefined,
    resultAt: row.result_at ?? undefined,
    completedAt: row.completed_at ?? undefined,
    imageExpiredAt: row.image_expired_at ?? undefined,
    logExpiredAt: row.log_expired_at ?? undefined,
    lastSeq: row.last_seq,
  }
}
