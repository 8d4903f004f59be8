// The rules of reports: which days, and whose builds.
import type { Principal } from '../auth/principal.ts'
import { BuildStatus, CacheSource, FailureClass } from '../builds/schema.ts'
import type { Db } from '../db/pool.ts'
import { AppError, invalidRequest } from '../errors.ts'
import { REPORT_DAYS_DEFAULT, REPORT_DAYS_MAX } from '../limits.ts'
import type { BuildReport, Figures, ReportQuery } from './schema.ts'
import { createReportStore, type FigureRow } from './store.ts'

const DAY_MS = 24 * 60 * 60 * 1000

export type Reports = ReturnType<typeof createReports>

export function createReports({ db, now = Date.now }: { db: Db; now?: () => number }) {
  const store = createReportStore({ db })
  return {
    async builds(principal: Principal, query: ReportQuery): Promise<BuildReport> {
      const { from, to } = range(query, now())
      const tenant = scope(principal, query.tenant)
      const found = await store.builds({ from, to, tenant, app: query.app })
      const days = found.filter((row) => row.day !== null)
      const sum = found.find((row) => row.day === null)
      return {
        from,
        to,
        bucket: query.bucket,
        ...(tenant === undefined ? {} : { tenant }),
        ...(query.app === undefined ? {} : { app: query.app }),
        total: toFigures(sum!),
        buckets: days.map((row) => ({ start: row.day!, ...toFigures(row) })),
      }
    },
  }
}

function range(query: ReportQuery, nowMs: number): { from: string; to: string } {
  const to = query.to ?? day(nowMs)
  const from = query.from ?? day(Date.parse(to) - (REPORT_DAYS_DEFAULT - 1) * DAY_MS)
  const days = (Date.parse(to) - Date.parse(from)) / DAY_MS + 1
  if (days < 1) {
    throw invalidRequest(`query from=${JSON.stringify(from)}: is after to=${JSON.stringify(to)}`)
  }
  if (days > REPORT_DAYS_MAX) {
    throw invalidRequest(
      `query from=${JSON.stringify(from)}: ${days} days until ${to}; at most ${REPORT_DAYS_MAX}`,
    )
  }
  return { from, to }
}

function day(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}

/** Admins see all tenants, or the one they name; others their own. */
function scope(principal: Principal, asked: string | undefined): string | undefined {
  if (principal.admin) return asked
  if (asked === undefined || asked === principal.tenant) return principal.tenant
  throw new AppError('forbidden', `reports of tenant ${asked} are for its own tokens and admins`)
}

function toFigures(row: FigureRow): Figures {
  const finished = row.status_ready! + row.status_failed!
  const duration = percentiles(row.duration_p50, row.duration_p95)
  const queue = percentiles(row.queue_p50, row.queue_p95)
  return {
    builds: row.builds,
    by_status: countsOf(BuildStatus.options, (name) => row[`status_${name}`]),
    by_failure_class: countsOf(FailureClass.options, (name) => row[`failure_${name}`]),
    ...(finished > 0 ? { success_rate: rounded(row.status_ready! / finished) } : {}),
    ...(duration ? { duration_ms: duration } : {}),
    ...(queue ? { queue_ms: queue } : {}),
    ...(row.steps_total > 0 ? { cache: cacheOf(row) } : {}),
  }
}

function cacheOf(row: FigureRow): Figures['cache'] {
  return {
    steps_total: row.steps_total,
    steps_cached: row.steps_cached,
    by_source: countsOf(CacheSource.options, (name) => row[`cache_${name}`]),
  }
}

function countsOf<K extends string>(names: readonly K[], read: (name: K) => number | undefined) {
  return Object.fromEntries(names.map((name) => [name, read(name) ?? 0])) as Record<K, number>
}

function percentiles(p50: number | null, p95: number | null) {
  return p50 === null || p95 === null ? undefined : { p50, p95 }
}

function rounded(rate: number): number {
  return Math.round(rate * 10_000) / 10_000
}
