// What the retention has deleted, by this process.
import type { Meter } from '@opentelemetry/api'
import { KINDS, type ReportResult } from '../retention/report.ts'

export function createRetentionMetrics(meter: Meter) {
  const counter = (name: string, description: string, unit?: string) =>
    meter.createCounter(name, { description, ...(unit ? { unit } : {}) })
  const deleted = counter('hypeman_retention_deleted_total', 'What retention has deleted')
  const bytes = counter(
    'hypeman_retention_deleted_bytes_total',
    'Bytes of it, as far as known; images may share them',
    'By',
  )
  const failures = counter('hypeman_retention_failures_total', 'What it could not delete')
  const runs = counter('hypeman_retention_runs_total', 'Runs of the retention')
  for (const kind of KINDS) for (const each of [deleted, bytes, failures]) each.add(0, { kind })
  runs.add(0)

  return {
    ran({ totals, failures: failed }: ReportResult): void {
      runs.add(1)
      for (const kind of KINDS) {
        deleted.add(totals[kind].count, { kind })
        bytes.add(totals[kind].bytes, { kind })
      }
      for (const { kind } of failed) failures.add(1, { kind })
    },
  }
}
