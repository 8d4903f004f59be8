// The rules around builds that callers meet: whose they are, what a caller sees of them, how they are cancelled.
import type { Principal } from '../auth/principal.ts'
import type { Db } from '../db/pool.ts'
import { AppError, notFound } from '../errors.ts'
import { CANCEL_DEADLINE_MS } from '../limits.ts'
import type { BuildLog } from './log.ts'
import { between, phasesOf } from './phases.ts'
import type { Build, BuildEvent, BuildStatus } from './schema.ts'
import { TERMINAL } from './schema.ts'
import type { BuildRow, BuildStore } from './store.ts'
import { endColumns, transition } from './transitions.ts'

export interface BuildsOptions {
  db: Db
  store: BuildStore
  buildLog: BuildLog
  /** `host:port` under which people pull. */
  registryName: () => string
}

export interface ListFilter {
  app?: string | undefined
  status?: BuildStatus | undefined
  limit: number
  before?: string | undefined
}

export type Builds = ReturnType<typeof createBuilds>

export function createBuilds({ db, store, buildLog, registryName }: BuildsOptions) {
  /** Another tenant's build is as unknown as one that never was. */
  async function own(principal: Principal, id: string): Promise<BuildRow> {
    const row = await store.get(id)
    if (!row || (row.tenant !== principal.tenant && !principal.admin)) throw notFound('build')
    return row
  }

  const shown = async (row: BuildRow): Promise<Build> => {
    const position = row.status === 'queued' ? await store.position(row.id) : undefined
    return toPublic(row, registryName(), position)
  }

  return {
    async get(principal: Principal, id: string): Promise<Build> {
      return shown(await own(principal, id))
    },

    async list(principal: Principal, filter: ListFilter): Promise<Build[]> {
      const found = await store.list({ tenant: principal.tenant, ...filter })
      return Promise.all(found.map(shown))
    },

    /** Resolves when the build is cancelled and its VM gone; a finished build is a conflict. */
    async cancel(principal: Principal, id: string): Promise<void> {
      const row = await own(principal, id)
      if (row.status === 'cancelled') return
      const left = await transition(db, {
        id,
        from: ['queued'],
        to: 'cancelled',
        set: { ...endColumns(db), cancel_requested_at: db.fn.now() },
      })
      if (left) return
      if ((await requestCancel(id)) && (await untilEnd(id)) === 'cancelled') return
      const now = await own(principal, id)
      if (now.status === 'cancelled') return
      if (!TERMINAL.has(now.status) && now.resultAt === undefined) {
        throw new AppError(
          'internal_error',
          `build ${id} was asked to stop but has not stopped within ${CANCEL_DEADLINE_MS} ms; it will as soon as its worker answers`,
        )
      }
      throw new AppError('conflict', `build ${id} is already complete (${now.status})`)
    },

    /** The build's events; checks ownership before the first one is read. */
    async events(
      principal: Principal,
      id: string,
      options: { follow: boolean; afterSeq: number; signal: AbortSignal },
    ): Promise<AsyncIterable<BuildEvent>> {
      await own(principal, id)
      if (options.follow) return buildLog.follow(id, options.afterSeq, options.signal)
      return readAll(buildLog, id, options.afterSeq, options.signal)
    },
  }

  /** Only a build whose image is not recorded yet can be cancelled: the row decides who is first. */
  async function requestCancel(id: string): Promise<boolean> {
    const asked = await db('builds')
      .where({ id, result_at: null })
      .whereIn('status', ['building', 'pushing'])
      .update({ cancel_requested_at: db.raw('coalesce(cancel_requested_at, clock_timestamp())') })
    if (asked > 0) await db.raw(`select pg_notify('hypeman_build', ?)`, [`cancel:${id}`])
    return asked > 0
  }

  async function untilEnd(id: string): Promise<BuildStatus | undefined> {
    const signal = AbortSignal.timeout(CANCEL_DEADLINE_MS)
    const { last_seq: lastSeq } = await db('builds').where({ id }).first('last_seq')
    for await (const event of buildLog.follow(id, Math.max(0, lastSeq - 1), signal)) {
      if (event.type === 'status' && TERMINAL.has(event.status)) return event.status
    }
    return (await store.get(id))?.status
  }
}

async function* readAll(
  buildLog: BuildLog,
  id: string,
  afterSeq: number,
  signal: AbortSignal,
): AsyncGenerator<BuildEvent> {
  let seq = afterSeq
  while (!signal.aborted) {
    const events = await buildLog.read(id, seq)
    if (events.length === 0) return
    yield* events
    seq = events.at(-1)!.seq
  }
}

export function toPublic(row: BuildRow, registryName: string, position?: number): Build {
  const optional = {
    queue_position: position,
    image_digest: row.status === 'ready' ? row.imageDigest : undefined,
    image_ref: row.status === 'ready' ? `${registryName}/builds/${row.id}` : undefined,
    error: row.error,
    failure_class: row.failureClass,
    provenance: row.provenance,
    app: row.app,
    ref: row.ref,
    commit: row.commit,
    pusher: row.pusher,
    tags: Object.keys(row.tags).length > 0 ? row.tags : undefined,
    builder_id: row.request.builder_id,
    builder_instance_id: row.builderInstance,
    phases: phasesOf(row),
    started_at: row.startedAt?.toISOString(),
    completed_at: row.completedAt?.toISOString(),
    duration_ms: between(row.startedAt ?? row.createdAt, row.completedAt),
  }
  const present = Object.entries(optional).filter(([, value]) => value !== undefined)
  return {
    id: row.id,
    status: row.status,
    attempt: row.attempt,
    created_at: row.createdAt.toISOString(),
    ...Object.fromEntries(present),
  }
}
