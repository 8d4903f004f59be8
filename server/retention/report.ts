// What one run of the retention deletes, or would delete, and why.
import { asError } from '../errors.ts'
import { RETENTION_NAMED_MAX } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'

export const KINDS = ['image', 'cache', 'source', 'log', 'build', 'push', 'orphan'] as const
export type Kind = (typeof KINDS)[number]

export interface Deletion {
  kind: Kind
  /** Build id, repository, key, or ref with its commit. */
  name: string
  reason: string
  /** As far as known. */
  bytes?: number | undefined
}

export interface Failure {
  kind: Kind
  name: string
  message: string
}

export interface Totals {
  count: number
  bytes: number
}

export interface ReportResult {
  deleted: Deletion[]
  totals: Record<Kind, Totals>
  failures: Failure[]
}

export type Report = ReturnType<typeof createReport>

export function createReport({ log, dryRun }: { log: Log; dryRun: boolean }) {
  const deleted: Deletion[] = []
  const failures: Failure[] = []
  const totals = Object.fromEntries(
    KINDS.map((kind) => [kind, { count: 0, bytes: 0 }]),
  ) as ReportResult['totals']

  return {
    note(deletion: Deletion): void {
      const { kind, bytes = 0 } = deletion
      totals[kind].count += 1
      totals[kind].bytes += bytes
      if (deleted.length < RETENTION_NAMED_MAX) deleted.push(deletion)
      if (!dryRun) log.info({ ...deletion }, 'deleted by retention')
    },
    /** The next run tries again. */
    fail(kind: Kind, name: string, error: unknown): void {
      const { message } = asError(error)
      log.error({ kind, name, err: message }, 'retention could not delete; will retry')
      if (failures.length < RETENTION_NAMED_MAX) failures.push({ kind, name, message })
    },
    result: (): ReportResult => ({ deleted, totals, failures }),
  }
}

/** What each part of a run is given. */
export interface RetentionRun {
  dryRun: boolean
  report: Report
  /** Aborted when the server stops: what is left waits for the next run. */
  signal: AbortSignal
}
