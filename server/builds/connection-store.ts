// The rows of a build's connections. Written under the lease; numbers have no gaps, and the build says how
// many there must be.
import type { Queryable } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import type { ConnectionEvent, NetworkConnection } from './connections.ts'

export interface ConnectionBatch {
  buildId: string
  attempt: number
  /** Number of the last one before these. */
  after: number
  events: readonly ConnectionEvent[]
}

/** Whether the lease was held; written twice they are there once. */
export async function appendConnections(
  db: Queryable,
  { buildId, attempt, after, events }: ConnectionBatch,
  lease: { token: string },
): Promise<boolean> {
  const [row] = await rows<{ held: boolean }>(
    db,
    `with held as (
       select id from builds
       where id = :buildId and lease_token = :token and status in ('building', 'pushing')
       for share
     ), inserted as (
       insert into build_connections (build_id, n, attempt, event)
       select held.id, cast(:after as int) + e.n, cast(:attempt as int), e.event
       from held, jsonb_array_elements(cast(:events as jsonb)) with ordinality as e (event, n)
       on conflict do nothing
     )
     select exists (select from held) as held`,
    { buildId, attempt, after, events: JSON.stringify(events), token: lease.token },
  )
  return row?.held ?? false
}

export async function countConnections(db: Queryable, buildId: string): Promise<number> {
  const [row] = await rows<{ n: number }>(
    db,
    'select count(*) as n from build_connections where build_id = ?',
    [buildId],
  )
  return row?.n ?? 0
}

/** Writes down how many there must be, and returns how many there are; undefined without the lease. */
export async function promiseConnections(
  db: Queryable,
  { buildId, events }: { buildId: string; events: number },
  lease: { token: string },
): Promise<number | undefined> {
  const [row] = await rows<{ stored: number }>(
    db,
    `update builds set connection_events = ?
     where id = ? and lease_token = ? and status in ('building', 'pushing')
     returning (select count(*) from build_connections where build_id = id) as stored`,
    [events, buildId, lease.token],
  )
  return row?.stored
}

export interface ConnectionState {
  stored: number
  /** Undefined until an attempt has ended. */
  promised: number | undefined
}

export async function connectionState(db: Queryable, buildId: string): Promise<ConnectionState> {
  const [row] = await rows<{ stored: number; promised: number | null }>(
    db,
    `select connection_events as promised,
       (select count(*) from build_connections where build_id = id) as stored
     from builds where id = ?`,
    [buildId],
  )
  return { stored: row?.stored ?? 0, promised: row?.promised ?? undefined }
}

export async function readConnections(
  db: Queryable,
  buildId: string,
  { after, limit }: { after: number; limit: number },
): Promise<NetworkConnection[]> {
  const found = await rows<{ n: number; attempt: number; event: ConnectionEvent }>(
    db,
    `select n, attempt, event from build_connections
     where build_id = ? and n > ? order by n limit ?`,
    [buildId, after, limit],
  )
  return found.map(({ n, attempt, event }) => ({ n, attempt, ...event }))
}
