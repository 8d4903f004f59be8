// HTTP requests by method, route template and status. Labels come from the route table, never from what a
// caller typed, so their number is bounded.
import type { Meter } from '@opentelemetry/api'

const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800]
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

export interface Served {
  method: string
  /** The template; undefined when no route matched. */
  route: string | undefined
  status: number
  ms: number
}

export function createHttpMetrics(meter: Meter): (served: Served) => void {
  const duration = meter.createHistogram('hypeman_http_request_duration_seconds', {
    description: 'From the request to the last byte of the answer, streams included',
    unit: 's',
    advice: { explicitBucketBoundaries: BUCKETS },
  })
  return ({ method, route, status, ms }) =>
    duration.record(ms / 1000, {
      method: METHODS.has(method) ? method : 'other',
      route: route ?? 'none',
      status: String(status),
    })
}
