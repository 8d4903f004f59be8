// How long the queue is and what runs, read from PostgreSQL when somebody looks: every process of an
// installation says the same, and a restart forgets nothing.
import type { Meter } from '@opentelemetry/api'
import type { Db } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { QUEUE_GAUGES_AGE_MAX_MS } from '../limits.ts'

interface Counts {
  queued: number
  active: number
  oldest_seconds: number
  slots_used: number
  slots_free: number
}

export function observeQueue(meter: Meter, db: Db): void {
  const gauge = (name: string, description: string, unit?: string) =>
    meter.createObservableGauge(name, { description, ...(unit ? { unit } : {}) })
  const queueLength = gauge('hypeman_build_queue_length', 'Builds that wait for a slot')
  const oldest = gauge('hypeman_build_queue_oldest_seconds', 'How long the oldest waits', 's')
  const active = gauge('hypeman_builds_active', 'Builds that hold a slot')
  const slots = gauge('hypeman_build_slots', 'How many builds may run at once, by state')
  const read = cached(() => readCounts(db))
  meter.addBatchObservableCallback(
    async (result) => {
      const counts = await read()
      result.observe(queueLength, counts.queued)
      result.observe(oldest, counts.oldest_seconds)
      result.observe(active, counts.active)
      result.observe(slots, counts.slots_used, { state: 'used' })
      result.observe(slots, counts.slots_free, { state: 'free' })
    },
    [queueLength, oldest, active, slots],
  )
}

/** One read at a time, and its answer for all who ask within a moment. A failure is not kept. */
function cached<T>(read: () => Promise<T>): () => Promise<T> {
  let known: { value: Promise<T>; at: number } | undefined
  return () => {
    const now = performance.now()
    if (known && now - known.at < QUEUE_GAUGES_AGE_MAX_MS) return known.value
    const value = read()
    known = { value, at: now }
    value.catch(() => {
      known = undefined
    })
    return value
  }
}

async function readCounts(db: Db): Promise<Counts> {
  const [counts] = await rows<Counts>(
    db,
    `select
       (select count(*) from builds where status = 'queued') as queued,
       (select count(build_id) from slots) as active,
       (select coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8
          from builds where status = 'queued') as oldest_seconds,
       (select count(build_id) from slots) as slots_used,
       (select count(*) - count(build_id) from slots) as slots_free`,
  )
  return counts!
}
