// One statement takes a free slot and the next queued build; both rows are locked with SKIP LOCKED, so
// no number of workers can exceed the slots or take one build twice (DESIGN §4.1). A build whose builder has
// another one is passed over and keeps its place.
import { randomUUID } from 'node:crypto'
import { BUSY } from '../builders/busy.ts'
import { appendEvents } from '../builds/event-store.ts'
import { type BuildRow, toBuild } from '../builds/store.ts'
import type { Db } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { LEASE_MS } from '../limits.ts'
import { QUEUE_ORDER } from './position.ts'

/** A claimed build; its lease token never leaves the worker. */
export type ClaimedBuild = BuildRow & { leaseToken: string }

export async function claimNext(db: Db, worker: string): Promise<ClaimedBuild | undefined> {
  for (;;) {
    const claimed = await tryClaim(db, worker)
    if (claimed !== 'again') return claimed
  }
}

async function tryClaim(db: Db, worker: string): Promise<ClaimedBuild | 'again' | undefined> {
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
         select builds.id, builder_key
         from builds, slot
         where status = 'queued'
           and not exists (
             select 1 from builders
             where key = builder_key and (builders.status <> 'ready' or ${BUSY})
           )
         order by ${QUEUE_ORDER}
         limit 1
         for update of builds skip locked
       ), held as (
         update builders
         set active_build_id = next.id,
             lease_token = :token,
             lease_worker = :worker,
             lease_until = clock_timestamp() + :leaseMs * interval '1 ms',
             saving_until = null,
             last_used_at = clock_timestamp()
         from next
         where key = next.builder_key and status = 'ready' and not ${BUSY}
         returning key
       ), claimed as (
         update builds
         set status = 'building',
             attempt = attempt + 1,
             lease_token = :token,
             lease_until = clock_timestamp() + :leaseMs * interval '1 ms',
             worker = :worker,
             builder_instance = builds.id || '-' || (attempt + 1),
             started_at = coalesce(started_at, clock_timestamp()),
             claimed_at = clock_timestamp(),
             hello_at = null,
             pushing_at = null
         from next
         where builds.id = next.id
           and (next.builder_key is null or exists (select 1 from held))
         returning builds.*
       ), taken as (
         update slots
         set build_id = claimed.id
         from slot, claimed
         where slots.n = slot.n
         returning slots.n
       )
       select claimed.*, taken.n is not null as is_claimed
       from next left join claimed on true left join taken on true`,
      { leaseMs: LEASE_MS, worker, token: randomUUID() },
    )
    if (!row) return undefined
    // Its builder went to another build in this very moment: there may be others to take.
    if (!row.is_claimed) return 'again'
    const build = toBuild(row)
    if (build.attempt > 1) {
      const reason = 'the attempt before did not come to its end'
      await appendEvents(trx, build.id, [{ type: 'attempt', attempt: build.attempt, reason }])
    }
    await appendEvents(trx, build.id, [{ type: 'status', status: 'building' }])
    return { ...build, leaseToken: build.leaseToken! }
  })
}
