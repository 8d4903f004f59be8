// Workers as their operator sees them.
import { z } from 'zod'
import { BUILD_TIMEOUT_SECONDS_MAX, WORKER_DRAIN_SECONDS_DEFAULT } from '../limits.ts'
import type { WorkerRow } from './store.ts'
import { WorkerId } from './wire.ts'

const EXAMPLE = {
  id: 'worker-tz4a98xxat',
  host: 'rack-2',
  version: '0.1.0',
  slots: 2,
  building: 1,
  status: 'ready' as const,
  started_at: '2026-01-02T03:04:05.000Z',
  last_seen_at: '2026-01-02T04:04:05.000Z',
}

export const WireWorker = z
  .object({
    id: WorkerId,
    host: z.string(),
    version: z.string(),
    slots: z.int().meta({ description: 'How many builds it runs at once.' }),
    building: z.int().meta({ description: 'How many it runs now.' }),
    status: z.enum(['ready', 'draining', 'lost']).meta({
      description:
        '`draining`: it takes no more builds. `lost`: nothing was heard of it for as long as a lease lasts.',
    }),
    started_at: z.iso.datetime(),
    last_seen_at: z.iso.datetime(),
    drain_requested_at: z.iso.datetime().optional(),
    drain_until: z.iso
      .datetime()
      .optional()
      .meta({ description: 'What it still runs then is handed back to the queue.' }),
  })
  .meta({ id: 'Worker', examples: [EXAMPLE] })
export type WireWorker = z.infer<typeof WireWorker>

export const WorkerList = z.array(WireWorker).meta({ examples: [[EXAMPLE]] })

const ofWorker = WorkerId.optional().meta({ description: 'One worker; all of them without it.' })

export const WorkerQuery = z.strictObject({ worker: ofWorker }).meta({
  examples: [{ worker: EXAMPLE.id }],
})

export const DrainQuery = z
  .strictObject({
    worker: ofWorker,
    timeout_seconds: z.coerce
      .number()
      .int()
      .min(0)
      .max(BUILD_TIMEOUT_SECONDS_MAX)
      .default(WORKER_DRAIN_SECONDS_DEFAULT)
      .meta({ description: 'How long running builds may go on before they are handed back.' }),
  })
  .meta({ examples: [{ worker: EXAMPLE.id, timeout_seconds: 60 }] })

export function toWire(row: WorkerRow): WireWorker {
  const draining = row.drainRequestedAt === undefined ? 'ready' : 'draining'
  return {
    id: row.id,
    host: row.host,
    version: row.version,
    slots: row.slots,
    building: row.building,
    status: row.isLost ? 'lost' : draining,
    started_at: row.startedAt.toISOString(),
    last_seen_at: row.lastSeenAt.toISOString(),
    ...(row.drainRequestedAt === undefined
      ? {}
      : { drain_requested_at: row.drainRequestedAt.toISOString() }),
    ...(row.drainUntil === undefined ? {} : { drain_until: row.drainUntil.toISOString() }),
  }
}
