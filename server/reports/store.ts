// The report as one statement over the real rows: a series of days, the builds of each, and, by grouping
// sets, the same figures over all of them (percentiles cannot be added up afterwards).
import { BuildStatus, CacheSource, FailureClass } from '../builds/schema.ts'
import type { Db } from '../db/pool.ts'
import { rows } from '../db/pool.ts'

export interface ReportRange {
  /** Days, both included. */
  from: string
  to: string
  tenant: string | undefined
  app: string | undefined
}

/** Counts under `status_<name>`, `failure_<class>` and `cache_<source>`; `day` null is the sum of all. */
export interface FigureRow {
  day: string | null
  builds: number
  duration_p50: number | null
  duration_p95: number | null
  queue_p50: number | null
  queue_p95: number | null
  steps_total: number
  steps_cached: number
  [count: `status_${string}` | `failure_${string}` | `cache_${string}`]: number
}

// The words come from our own enums, never from a caller.
const counts = [
  ...BuildStatus.options.map((word) => ({ column: 'status', word, prefix: 'status' })),
  ...FailureClass.options.map((word) => ({ column: 'failure_class', word, prefix: 'failure' })),
  ...CacheSource.options.map((word) => ({ column: 'cache_source', word, prefix: 'cache' })),
].map(
  ({ column, word, prefix }) =>
    `(count(*) filter (where found.${column} = '${word}'))::int as ${prefix}_${word}`,
)

const sums = ['steps_total', 'steps_cached'].map(
  (name) => `coalesce(sum(found.${name}), 0)::int as ${name}`,
)

const percentiles = ['duration', 'queue'].flatMap((what) =>
  [50, 95].map(
    (p) =>
      `round(percentile_cont(${p / 100.0}) within group (order by found.${what}_ms))::bigint as ${what}_p${p}`,
  ),
)

const REPORT = `
  with days as (
    select cast(day as date) as day
    from generate_series(cast(:from as timestamp), cast(:to as timestamp), interval '1 day') as day
  ), found as (
    select
      cast(created_at at time zone 'UTC' as date) as day,
      status,
      failure_class,
      case when status = 'ready' then provenance->'cache'->>'source' end as cache_source,
      case when status = 'ready' then (provenance->'cache'->>'steps_total')::int end as steps_total,
      case when status = 'ready' then (provenance->'cache'->>'steps_cached')::int end as steps_cached,
      case when status in ('ready', 'failed')
        then cast(extract(epoch from completed_at - started_at) * 1000 as double precision)
      end as duration_ms,
      cast(extract(epoch from started_at - created_at) * 1000 as double precision) as queue_ms
    from builds
    where created_at >= cast(:from as timestamp) at time zone 'UTC'
      and created_at < (cast(:to as timestamp) + interval '1 day') at time zone 'UTC'
      and (cast(:tenant as text) is null or tenant = :tenant)
      and (cast(:app as text) is null or app = :app)
  )
  select
    to_char(days.day, 'YYYY-MM-DD') as day,
    count(found.status)::int as builds,
    ${[...counts, ...sums, ...percentiles].join(',\n    ')}
  from days
  left join found on found.day = days.day
  group by grouping sets ((days.day), ())
  order by days.day nulls last`

export type ReportStore = ReturnType<typeof createReportStore>

export function createReportStore({ db }: { db: Db }) {
  return {
    /** One row per day, in order, and last the sum. */
    builds: ({ from, to, tenant, app }: ReportRange): Promise<FigureRow[]> =>
      rows<FigureRow>(db, REPORT, { from, to, tenant: tenant ?? null, app: app ?? null }),
  }
}
