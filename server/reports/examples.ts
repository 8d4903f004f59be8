// What the API document shows of reports.

const FIGURES = {
  builds: 12,
  by_status: { queued: 0, building: 1, pushing: 0, ready: 9, failed: 2, cancelled: 0 },
  by_failure_class: {
    build: 1,
    source: 0,
    timeout: 0,
    oom: 1,
    disk: 0,
    registry: 0,
    infra: 0,
    lost: 0,
  },
  success_rate: 0.818,
  duration_ms: { p50: 24_888, p95: 61_020 },
  queue_ms: { p50: 14, p95: 2_310 },
  cache: {
    steps_total: 81,
    steps_cached: 52,
    by_source: { builder: 1, registry: 2, mixed: 4, none: 2 },
  },
}

export const REPORT_EXAMPLE = {
  from: '2026-05-04',
  to: '2026-05-04',
  bucket: 'day',
  tenant: 'acme',
  total: FIGURES,
  buckets: [{ start: '2026-05-04', ...FIGURES }],
}
