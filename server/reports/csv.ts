// The report as CSV: one row per bucket, the same columns always, empty where there is no figure.
import { stringify } from 'csv-stringify/sync'
import { BuildStatus, CacheSource, FailureClass } from '../builds/schema.ts'
import type { BuildReport } from './schema.ts'

export function toCsv(report: BuildReport): string {
  const records = report.buckets.map((bucket) => ({
    start: bucket.start,
    builds: bucket.builds,
    ...bucket.by_status,
    ...prefixed('failed_', bucket.by_failure_class),
    success_rate: bucket.success_rate,
    duration_p50_ms: bucket.duration_ms?.p50,
    duration_p95_ms: bucket.duration_ms?.p95,
    queue_p50_ms: bucket.queue_ms?.p50,
    queue_p95_ms: bucket.queue_ms?.p95,
    steps_total: bucket.cache?.steps_total,
    steps_cached: bucket.cache?.steps_cached,
    ...prefixed('cache_', bucket.cache?.by_source ?? {}),
  }))
  return stringify(records, { header: true, columns: COLUMNS })
}

const COLUMNS = [
  'start',
  'builds',
  ...BuildStatus.options,
  ...FailureClass.options.map((name) => `failed_${name}`),
  'success_rate',
  'duration_p50_ms',
  'duration_p95_ms',
  'queue_p50_ms',
  'queue_p95_ms',
  'steps_total',
  'steps_cached',
  ...CacheSource.options.map((name) => `cache_${name}`),
]

function prefixed(prefix: string, counts: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).map(([name, n]) => [`${prefix}${name}`, n]))
}
