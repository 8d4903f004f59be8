// The numbered, append-only sequence of one build's events. The row lock on the build makes the order of
// numbers the order of commits, so a reader that saw n never meets a smaller number later.
import type { Step } from '../../agent/protocol.ts'
import { notify } from '../db/notices.ts'
import type { Queryable } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { LOG_READ_BYTES_MAX } from '../limits.ts'
import { storable } from '../storable.ts'
import type { BuildEvent, BuildStatus } from './schema.ts'

export type NewEvent =
  | { type: 'log'; line: string; step?: number }
  | { type: 'status'; status: BuildStatus }
  | { type: 'step'; step: Step }
  | { type: 'attempt'; attempt: number; reason: string }

/** Appends in order, or nothing at all when the lease is given and no longer held. Returns whether it did. */
export async function appendEvents(
  db: Queryable,
  buildId: string,
  events: readonly NewEvent[],
  lease?: { token: string; batch?: string | undefined },
): Promise<boolean> {
  if (events.length === 0) return true
  const columns = events.map(toColumns)
  const appended = await rows(
    db,
    `with numbered as (
       update builds
       set last_seq = last_seq + cast(:count as int),
           last_batch = coalesce(cast(:batch as uuid), last_batch)
       where id = :buildId
         and (cast(:batch as uuid) is null or last_batch is distinct from cast(:batch as uuid))
         and (cast(:token as uuid) is null
           or (lease_token = cast(:token as uuid) and status in ('building', 'pushing')))
       returning last_seq - cast(:count as int) as base
     ), inserted as (
       insert into build_events (build_id, seq, type, content, data)
       select cast(:buildId as text), numbered.base + e.n, e.type, e.content, cast(e.data as jsonb)
       from numbered,
         unnest(cast(:types as text[]), cast(:contents as text[]), cast(:datas as text[]))
           with ordinality as e (type, content, data, n)
       returning 1
     )
     select 1 from numbered`,
    {
      count: events.length,
      buildId,
      token: lease?.token ?? null,
      batch: lease?.batch ?? null,
      types: columns.map((c) => c.type),
      contents: columns.map((c) => c.content),
      datas: columns.map((c) => c.data),
    },
  )
  if (appended.length > 0) notify(db, 'hypeman_build', buildId)
  if (appended.length > 0 || lease?.batch === undefined) return appended.length > 0
  // The answer to the first try may have been lost with its connection.
  const { token, batch } = lease
  const known = await db('builds')
    .where({ id: buildId, lease_token: token, last_batch: batch })
    .first('id')
  return known !== undefined
}

/** Behind a number, up to which the build's row has been moved on in the same transaction. */
export async function insertEvents(
  trx: Queryable,
  buildId: string,
  afterSeq: number,
  events: readonly NewEvent[],
): Promise<void> {
  const added = events.map((event, i) => ({
    build_id: buildId,
    seq: afterSeq + i + 1,
    ...toColumns(event),
  }))
  await trx('build_events').insert(added)
  notify(trx, 'hypeman_build', buildId)
}

/**
 * Events after a number, in order: at most `limit`, and no more than a page of bytes beyond the first. Numbers
 * have no gaps, so both ends of the page are in the condition: without statistics on a table that has just grown,
 * PostgreSQL would read and sort the whole rest of the log for each page.
 */
export async function readEvents(
  db: Queryable,
  buildId: string,
  afterSeq: number,
  limit: number,
): Promise<BuildEvent[]> {
  const found = await rows<EventRow>(
    db,
    `with page as (
       select seq, at, type, content, data
       from build_events
       where build_id = :buildId and seq > :afterSeq and seq <= :afterSeq + cast(:limit as int)
     ), sized as (
       select page.*, sum(octet_length(content)) over (
         order by seq rows between unbounded preceding and 1 preceding
       ) as bytes_before
       from page
     )
     select seq, at, type, content, data
     from sized
     where coalesce(bytes_before, 0) < :bytesMax
     order by seq`,
    { buildId, afterSeq, limit, bytesMax: LOG_READ_BYTES_MAX },
  )
  return found.map(toEvent)
}

/** Number of the first event after a number. */
export async function nextSeq(
  db: Queryable,
  buildId: string,
  afterSeq: number,
): Promise<number | undefined> {
  const row = await db('build_events')
    .where({ build_id: buildId })
    .where('seq', '>', afterSeq)
    .orderBy('seq')
    .first('seq')
  return row?.seq
}

/** Everything but the log lines: few, and found by an index of their own. */
export async function readFacts(db: Queryable, buildId: string): Promise<BuildEvent[]> {
  const found = await rows<EventRow>(
    db,
    `select seq, at, type, content, data
     from build_events
     where build_id = ? and type <> 'log'
     order by seq`,
    [buildId],
  )
  return found.map(toEvent)
}

/** The status a build had at that number of its events. */
export async function statusAt(
  db: Queryable,
  buildId: string,
  seq: number,
): Promise<BuildStatus | undefined> {
  const [row] = await rows<{ status: BuildStatus }>(
    db,
    `select content as status
     from build_events
     where build_id = ? and seq <= ? and type <> 'log' and type = 'status'
     order by seq desc
     limit 1`,
    [buildId, seq],
  )
  return row?.status
}

interface EventRow {
  seq: number
  at: Date
  type: BuildEvent['type']
  content: string | null
  // biome-ignore lint/suspicious/noExplicitAny: written by toColumns below, per type
  data: any
}

function toColumns(event: NewEvent): { type: string; content: string | null; data: string | null } {
  switch (event.type) {
    case 'log': {
      return {
        type: 'log',
        content: storable(event.line),
        data: event.step ? JSON.stringify({ step: event.step }) : null,
      }
    }
    case 'status':
      return { type: 'status', content: event.status, data: null }
    case 'step':
      return {
        type: 'step',
        content: null,
        data: JSON.stringify(event.step, (_, value) =>
          typeof value === 'string' ? storable(value) : value,
        ),
      }
    case 'attempt':
      return {
        type: 'attempt',
        content: storable(event.reason),
        data: JSON.stringify({ attempt: event.attempt }),
      }
  }
}

function toEvent(row: EventRow): BuildEvent {
  const { seq, at } = row
  switch (row.type) {
    case 'log': {
      const line = row.content ?? ''
      return { seq, at, type: 'log', line, ...(row.data?.step ? { step: row.data.step } : {}) }
    }
    case 'status':
      return { seq, at, type: 'status', status: row.content as BuildStatus }
    case 'step':
      return { seq, at, type: 'step', step: row.data }
    case 'attempt':
      return { seq, at, type: 'attempt', attempt: row.data.attempt, reason: row.content ?? '' }
  }
}
