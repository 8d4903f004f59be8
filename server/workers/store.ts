// SQL over `workers`: who is there, as each of them says itself every few seconds.
import { notify } from '../db/notices.ts'
import type { Db } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { LEASE_MS, WORKER_FORGOTTEN_HOURS } from '../limits.ts'

export interface WorkerIdentity {
  /** The same after a restart on the same data folder. */
  id: string
  host: string
  dataDir: string
  version: string
  slots: number
  /** Of this process. */
  session: string
}

export interface WorkerBeat {
  /** What is left until running builds are handed back; undefined: it is not draining. */
  handBackInMs: number | undefined
}

export interface WorkerRow {
  id: string
  host: string
  version: string
  slots: number
  building: number
  startedAt: Date
  lastSeenAt: Date
  isLost: boolean
  drainRequestedAt: Date | undefined
  drainUntil: Date | undefined
}

/** Its last sign of life is too old, or of a time that has not come: a clock was set back after it. */
const UNHEARD_OF = `abs(extract(epoch from clock_timestamp() - workers.last_seen_at)) * 1000 > :leaseMs`

export function createWorkerStore({ db }: { db: Db }) {
  return {
    /** Whether the id is now this process's; it is not while a process elsewhere has it. */
    async register(worker: WorkerIdentity): Promise<boolean> {
      const taken = await rows(
        db,
        `insert into workers (id, host, data_dir, version, slots, session)
         values (:id, :host, :dataDir, :version, :slots, :session)
         on conflict (id) do update
         set host = excluded.host, data_dir = excluded.data_dir, version = excluded.version,
             slots = excluded.slots, session = excluded.session,
             started_at = clock_timestamp(), last_seen_at = clock_timestamp(),
             drain_requested_at = null, drain_until = null
         where (workers.host = excluded.host and workers.data_dir = excluded.data_dir)
           or ${UNHEARD_OF}
         returning id`,
        { ...worker, leaseMs: LEASE_MS },
      )
      return taken.length > 0
    },

    /** Its entry again, when it was forgotten; false when another process has the id. */
    async restore({ dataDir: data_dir, ...worker }: WorkerIdentity): Promise<boolean> {
      const made = await db('workers')
        .insert({ ...worker, data_dir })
        .onConflict()
        .ignore()
        .returning('id')
      return made.length > 0
    },

    /** undefined when the id is no longer this process's. Forgets workers that are long gone. */
    async beat(
      { id, session }: WorkerIdentity,
      deadlineMs: number,
    ): Promise<WorkerBeat | undefined> {
      const result = await db
        .raw(
          `with forgotten as (
             delete from workers
             where last_seen_at < clock_timestamp() - ? * interval '1 hour' and id <> ?
           )
           update workers set last_seen_at = clock_timestamp()
           where id = ? and session = ?
           returning
             drain_requested_at is not null as draining,
             greatest(0, extract(epoch from drain_until - clock_timestamp()) * 1000)::float8 as left_ms`,
          [WORKER_FORGOTTEN_HOURS, id, id, session],
        )
        .timeout(deadlineMs)
      const [row] = result.rows as { draining: boolean; left_ms: number }[]
      if (!row) return undefined
      return { handBackInMs: row.draining ? Math.ceil(row.left_ms) : undefined }
    },

    async remove({ id, session }: WorkerIdentity): Promise<void> {
      await db('workers').where({ id, session }).delete()
    },

    async list(): Promise<WorkerRow[]> {
      const found = await rows<Record<string, unknown>>(
        db,
        `select workers.*,
           ${UNHEARD_OF} as lost,
           (select count(*)::int from builds
            where worker = workers.id and lease_token is not null) as building
         from workers order by started_at, id`,
        { leaseMs: LEASE_MS },
      )
      return found.map(toWorker)
    },

    /** Those it is asked of; all of them without an id. */
    async requestDrain(id: string | undefined, seconds: number): Promise<number> {
      const asked = await rows<{ id: string }>(
        db,
        `update workers
         set drain_requested_at = coalesce(drain_requested_at, clock_timestamp()),
             drain_until = clock_timestamp() + :seconds * interval '1 s'
         where id = coalesce(:id, id)
         returning id`,
        { id: id ?? null, seconds },
      )
      for (const { id } of asked) notify(db, 'hypeman_workers', id)
      return asked.length
    },

    async endDrain(id: string | undefined): Promise<number> {
      const asked = await rows<{ id: string }>(
        db,
        `update workers set drain_requested_at = null, drain_until = null
         where id = coalesce(:id, id)
         returning id`,
        { id: id ?? null },
      )
      for (const { id } of asked) notify(db, 'hypeman_workers', id)
      return asked.length
    },
  }
}

// biome-ignore lint/suspicious/noExplicitAny: a row as the driver gives it; this is where it gets its type
function toWorker(row: any): WorkerRow {
  return {
    id: row.id,
    host: row.host,
    version: row.version,
    slots: row.slots,
    building: row.building,
    startedAt: row.started_at,
    lastSeenAt: row.last_seen_at,
    isLost: row.lost,
    drainRequestedAt: row.drain_requested_at ?? undefined,
    drainUntil: row.drain_until ?? undefined,
  }
}
