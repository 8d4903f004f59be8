// What the garbage collection does to the registry and its clients.
import type { Meter } from '@opentelemetry/api'
import type { Collected } from '../garbage/collect.ts'

const STALL_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export function createGarbageMetrics(meter: Meter) {
  const runs = meter.createCounter('hypeman_garbage_runs_total', {
    description: 'Garbage collections of the registry, by how they ended',
  })
  const freed = meter.createCounter('hypeman_garbage_freed_bytes_total', {
    description: 'Freed by garbage collections of the registry',
    unit: 'By',
  })
  const stall = meter.createHistogram('hypeman_garbage_stall_seconds', {
    description:
      'The longest moment of a garbage collection in which writes to the registry were held',
    unit: 's',
    advice: { explicitBucketBoundaries: STALL_BUCKETS },
  })
  for (const outcome of ['done', 'failed']) runs.add(0, { outcome })
  freed.add(0)
  return {
    /** undefined: it failed. */
    ran(result: Collected | undefined): void {
      runs.add(1, { outcome: result ? 'done' : 'failed' })
      if (!result) return
      freed.add(result.bytesFreed)
      stall.record(result.stallMaxMs / 1000)
    },
  }
}
