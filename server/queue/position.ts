// The order of the queue, in one place: the claim takes its first, the position counts by it.
import type { Queryable } from '../db/pool.ts'
import { rows } from '../db/pool.ts'

export const QUEUE_ORDER = 'priority desc, created_at, id'

/** 1-based places of those among the builds that are queued. */
export async function queuePositions(
  db: Queryable,
  ids: readonly string[],
): Promise<Map<string, number>> {
  if (ids.length === 0) return new Map()
  const found = await rows<{ id: string; position: number }>(
    db,
    `select id, position from (
       select id, row_number() over (order by ${QUEUE_ORDER})::int as position
       from builds
       where status = 'queued'
     ) queue
     where id = any(cast(? as text[]))`,
    [ids],
  )
  return new Map(found.map(({ id, position }) => [id, position]))
}
