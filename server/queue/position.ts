// Where a build stands in the order of order.ts, counted without sorting the queue: the builds of a tenant that
// come before a given round are known from its row alone.
import type { Queryable } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { IS_URGENT, WITHIN_TENANT } from './order.ts'

/** 1-based places of those among the builds that are queued. */
export async function queuePositions(
  db: Queryable,
  ids: readonly string[],
): Promise<Map<string, number>> {
  if (ids.length === 0) return new Map()
  const found = await rows<{ id: string; position: number }>(
    db,
    POSITIONS,
    { ids },
    'queue_positions',
  )
  return new Map(found.map(({ id, position }) => [id, position]))
}

// A tenant's row is written at the end of the transaction that queues its first build; until then it counts as
// one whose turn begins now.
const POSITIONS = `
  with wanted as (
    select b.id, b.tenant, b.${IS_URGENT} as is_urgent, place.k,
           coalesce(t.running, 0) + place.k as round,
           place.k + case when t.queued > 0 then t.turn
             else greatest(t.turn, 0, (select max(turn) - 1 from queue_tenants)) end as turn,
           case when t.queued > 0 then t.waiting_since else clock_timestamp() end as waiting_since
    from builds b
    left join queue_tenants t on t.tenant = b.tenant
    cross join lateral (
      select count(*) as k from builds o
      where o.tenant = b.tenant and o.status = 'queued'
        and (o.priority > b.priority
          or (o.priority = b.priority and (o.created_at, o.id) <= (b.created_at, b.id)))
    ) place
    where b.id = any(cast(:ids as text[])) and b.status = 'queued'
  ), urgent as (
    select id, tenant, row_number() over (order by ${WITHIN_TENANT}) as n
    from builds where status = 'queued' and ${IS_URGENT}
  ), active as (
    select t.tenant, t.queued, t.running, t.turn, t.waiting_since, count(urgent.id) as urgent
    from queue_tenants t left join urgent on urgent.tenant = t.tenant
    where t.queued > 0
    group by t.tenant
  )
  select wanted.id, (case
    when is_urgent then (select n from urgent where urgent.id = wanted.id)
    else 1 + (select count(*) from urgent) + greatest(0, wanted.k - 1 - (select count(*) from urgent where tenant = wanted.tenant)) + (
      select coalesce(sum(greatest(0, least(t.queued, wanted.round - t.running - 1 + case
        when (t.turn + wanted.round - t.running, t.waiting_since, t.tenant)
           < (wanted.turn, wanted.waiting_since, wanted.tenant) then 1 else 0 end
      ) - t.urgent)), 0)
      from active t where t.tenant <> wanted.tenant
    ) end)::int as position
  from wanted`
