// Limits are rows: one `slots` row per build that may run at once, for the whole installation, and one row with what
// holds for every tenant and build. So all workers go by the same ones, and need no settings of their own.

import { RELEASED } from '../builders/busy.ts'
import { notify } from '../db/notices.ts'
import type { Db, Queryable } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { QUEUE_TTL_HOURS_DEFAULT } from '../limits.ts'

/** Makes the number of slots match the setting; a slot in use is taken away once it is free. */
export async function setSlots(db: Db, count: number): Promise<void> {
  await db.raw(
    `insert into slots (n)
     select n from generate_series(1, ?) n
     on conflict do nothing`,
    [count],
  )
  await db.raw('delete from slots where n > ? and build_id is null', [count])
}

export interface QueueLimits {
  /** How many builds of one tenant may run at once; undefined: as many as there are slots. */
  runningPerTenant?: number | undefined
  /** How long a build may wait. */
  ttlHours?: number
}

export async function setQueueLimits(
  db: Db,
  { runningPerTenant, ttlHours = QUEUE_TTL_HOURS_DEFAULT }: QueueLimits,
): Promise<void> {
  await db('queue_limits').update({
    running_per_tenant: runningPerTenant ?? null,
    ttl_hours: ttlHours,
  })
}

/**
 * Gives the slot of a build back, and its builder unless that is being saved, and wakes the workers; a build
 * whose lease somebody holds keeps them.
 */
export async function markComplete(db: Queryable, buildId: string): Promise<void> {
  await db.raw(
    `update builders set ${RELEASED}
     where active_build_id = :buildId and saving_until is null
       and not exists (select 1 from builds where id = :buildId and lease_token is not null)`,
    { buildId },
  )
  const freed = await rows(
    db,
    `update slots
     set build_id = null
     where build_id = ?
       and not exists (
         select 1 from builds where id = slots.build_id and lease_token is not null
       )
     returning n`,
    [buildId],
  )
  if (freed.length > 0) notify(db, 'hypeman_queue', '')
}
