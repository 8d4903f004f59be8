// One statement takes a free slot and the next queued build; the slot, the tenant whose turn it is and the build
// are locked with SKIP LOCKED and looked at again once locked, so no number of workers can exceed the slots or a
// tenant's limit, or take one build twice (DESIGN §4.1). It is a transaction of its own: a worker whose network dies
// leaves no lock behind. A build whose builder has another one is passed over and keeps its place.
import { randomUUID } from 'node:crypto'
import { BUSY } from '../builders/busy.ts'
import { type BuildRow, toBuild } from '../builds/store.ts'
import { notify } from '../db/notices.ts'
import type { Db } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { BUILDER_AFFINITY_MS, CLAIM_TRIES_MAX, LEASE_MS } from '../limits.ts'
import { AMONG_TENANTS, IS_URGENT, WITHIN_TENANT } from './order.ts'

/** A claimed build; its lease token never leaves the worker. */
export type ClaimedBuild = BuildRow & { leaseToken: string }

export async function claimNext(
  db: Db,
  worker: string,
  { affinityMs = BUILDER_AFFINITY_MS }: { affinityMs?: number } = {},
): Promise<ClaimedBuild | undefined> {
  // Those who claim at once spread over the tenants; only who finds all of them taken waits for one, and those it
  // waits for are about to commit.
  for (let tries = 0; tries < CLAIM_TRIES_MAX; tries += 1) {
    const claimed = await tryClaim(db, tries === 0 ? SPREADING : WAITING, { worker, affinityMs })
    if (claimed !== 'again') return claimed
  }
  return undefined
}

async function tryClaim(
  db: Db,
  { name, sql }: { name: string; sql: string },
  { worker, affinityMs }: { worker: string; affinityMs: number },
): Promise<ClaimedBuild | 'again' | undefined> {
  const bindings = { leaseMs: LEASE_MS, affinityMs, worker, token: randomUUID() }
  const [row] = await rows<Record<string, unknown>>(db, sql, bindings, name)
  if (!row?.id) return row?.is_contended ? 'again' : undefined
  const build = toBuild(row)
  notify(db, 'hypeman_build', build.id)
  return { ...build, leaseToken: build.leaseToken! }
}

// The disk of a builder lies on one worker, which others leave the first moments to. `blocked` is a handful of rows,
// so it comes before the look at each builder.
const CLAIMABLE = `
  b.status = 'queued'
  and (b.builder_key is null or (
    b.builder_key not in (select key from blocked)
    and not exists (
      select 1 from builders k
      where k.key = b.builder_key and k.generation_worker <> :worker
        and greatest(b.queued_at, k.free_since)
          between clock_timestamp() - :affinityMs * interval '1 ms' and clock_timestamp()
    )
  ))`

const MAY_RUN = `t.queued > 0
  and t.running < (select coalesce(running_per_tenant, 2147483647) from queue_limits)`

const BY_TURN = `
  from queue_tenants t
  where ${MAY_RUN} and exists (
    select 1 from builds b where b.tenant = t.tenant and ${CLAIMABLE}
  )`

const URGENT = `
  from builds b join queue_tenants t on t.tenant = b.tenant
  where b.${IS_URGENT} and ${CLAIMABLE} and ${MAY_RUN}`

const claimWith = (lock: string) => `
  with slot as (
    select n from slots
    where build_id is null
    order by n
    limit 1
    for update skip locked
  ), blocked as materialized (
    select key from builders
    where (lease_token is not null or status <> 'ready') and (status <> 'ready' or ${BUSY})
  ), urgent as (
    select t.tenant ${URGENT} and exists (select 1 from slot)
    order by b.priority desc, b.created_at, b.id
    limit 1
    for update of t ${lock}
  ), by_turn as (
    select t.tenant ${BY_TURN}
      and exists (select 1 from slot) and not exists (select 1 from urgent)
    order by ${AMONG_TENANTS}
    limit 1
    for update of t ${lock}
  ), next as (
    select b.id, b.builder_key from builds b
    where b.tenant = (select tenant from urgent union all select tenant from by_turn)
      and ${CLAIMABLE}
    order by ${WITHIN_TENANT}
    limit 1
    for update of b skip locked
  ), held as (
    update builders
    set active_build_id = (select id from next),
        lease_token = :token,
        lease_worker = :worker,
        lease_until = clock_timestamp() + :leaseMs * interval '1 ms',
        saving_until = null,
        last_used_at = clock_timestamp()
    where key = (
      select key from builders
      where key = (select builder_key from next) and status = 'ready' and not ${BUSY}
      for no key update skip locked
    )
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
        pushing_at = null,
        last_seq = last_seq + case when attempt = 0 then 1 else 2 end
    from next
    where builds.id = next.id
      and (next.builder_key is null or exists (select 1 from held))
    returning builds.*
  ), taken as (
    update slots
    set build_id = claimed.id
    from slot, claimed
    where slots.n = slot.n
  ), told as (
    insert into build_events (build_id, seq, type, content, data)
    select id, last_seq - 1, 'attempt', 'the attempt before did not come to its end',
           jsonb_build_object('attempt', attempt)
    from claimed where attempt > 1
    union all
    select id, last_seq, 'status', 'building', null from claimed
  )
  select claimed.*, false as is_contended from claimed
  union all
  select (null::builds).*,
    exists (select 1 from slots where build_id is null)
    and (exists (select 1 ${URGENT}) or exists (select 1 ${BY_TURN}))
  where not exists (select 1 from claimed)`

const SPREADING = { name: 'claim_spreading', sql: claimWith('skip locked') }
const WAITING = { name: 'claim_waiting', sql: claimWith('') }
