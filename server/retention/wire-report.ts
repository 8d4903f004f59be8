// A report of the retention as the API shows it.
import { z } from 'zod'
import { KINDS } from './report.ts'

const kind = z.enum(KINDS)
const count = z.int().min(0)

export const WireReport = z
  .object({
    dry_run: z.boolean(),
    took_ms: count,
    totals: z.record(kind, z.object({ count, bytes: count })),
    deleted: z
      .array(z.object({ kind, name: z.string(), reason: z.string(), bytes: count.optional() }))
      .meta({ description: 'The first 1000; `totals` count all of them.' }),
    failures: z.array(z.object({ kind, name: z.string(), message: z.string() })),
    builders: z.object({ disks: count, bytes: count }),
  })
  .meta({
    id: 'RetentionReport',
    examples: [
      {
        dry_run: true,
        took_ms: 212,
        totals: {
          image: { count: 1, bytes: 0 },
          cache: { count: 0, bytes: 0 },
          source: { count: 0, bytes: 0 },
          log: { count: 0, bytes: 0 },
          build: { count: 0, bytes: 0 },
          push: { count: 0, bytes: 0 },
          orphan: { count: 0, bytes: 0 },
        },
        deleted: [
          { kind: 'image', name: 'v8xx8ycar6vvro8uxr9b7e9e', reason: 'not among the last 30' },
        ],
        failures: [],
        builders: { disks: 3, bytes: 734_003_200 },
      },
    ],
  })
export type WireReport = z.infer<typeof WireReport>
