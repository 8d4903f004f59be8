// One statement takes a free slot and the next queued build; both rows are locked with SKIP LOCKED, so
// no number of workers can exceed the slots or take one build twice (DESIGN §4.1).
import { appendEvents } from '../builds/event-store.ts'
import { type BuildRow, toBuild } from '../builds/store.ts'
import type { Db } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { LEASE_MS } from '../limits.ts'
import { QUEUE_ORDER } from './position.ts'

/** A claimed build; its lease token never leaves the worker. */
export type ClaimedBuild = BuildRow & { leaseToken: string }

export async function claimNext(db: Db, worker: string): Promise<ClaimedBuild | undefined> {
  return db.transaction(async (trx) => {
    const [row] = await rows<Record<string, unknown>>(
      trx,
      `with slot as (
         select n from slots
         where build_id is null
         order by n
         limit 1
         for update skip locked
       ), next as (
         select builds.id
         from builds, slot
         where status = 'queued'
         order by ${QUEUE_ORDER}
         limit 1
         for update of builds skip locked
       ), claimed as (
         update builds
         set status = 'building',
             attempt = attempt + 1,
             lease_token = gen_random_uuid(),
             lease_until = clock_timestamp() + :leaseMs * interval '1 ms',
             worker = :worker,
             builder_instance = builds.id || '-' || (attempt + 1),
             started_at = coalesce(started_at, clock_timestamp()),
             claimed_at = clock_timestamp(),
             hello_at = null,
             pushing_at = null
         from next
         where builds.id = next.id
         returning builds.*
       ), taken as (
         update slots
         set build_id = claimed.id
         from slot, claimed
         where slots.n = slot.n
         returning slots.n
       )
       select claimed.* from claimed, taken`,
      { leaseMs: LEASE_MS, worker },
    )
    if (!row) return undefined
    const build = toBuild(row)
    if (build.attempt > 1) {
      const reason = 'the attempt before did not come to its end'
      await appendEvents(trx, build.id, [{ type: 'attempt', attempt: build.attempt, reason }])
    }
    await appendEvents(trx, build.id, [{ type: 'status', status: 'building' }])
    return { ...build, leaseToken: build.leaseToken! }
  })
}
