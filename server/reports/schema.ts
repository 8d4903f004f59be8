// The history report: what is asked and what is answered. Days are UTC days of the builds' creation.
import { z } from 'zod'
import { AppName } from '../apps/schema.ts'
import { TenantName } from '../auth/tenant.ts'
import { BuildStatus, CacheSource, FailureClass } from '../builds/schema.ts'
import { REPORT_EXAMPLE } from './examples.ts'

const day = z.iso.date({ error: 'must be a day like 2026-01-31' })

export const ReportQuery = z.strictObject({
  from: day.optional().meta({ description: 'First day; default 29 days before the last.' }),
  to: day.optional().meta({ description: 'Last day, included; default today (UTC).' }),
  app: AppName.optional(),
  tenant: TenantName.optional().meta({ description: 'For admins, who otherwise get all tenants.' }),
  bucket: z.enum(['day']).default('day'),
  format: z.enum(['json', 'csv']).default('json'),
})
export type ReportQuery = z.infer<typeof ReportQuery>

const count = z.int().min(0)
const Percentiles = z.object({ p50: count, p95: count })

const Figures = z.object({
  builds: count.meta({ description: 'Builds created.' }),
  by_status: z.record(BuildStatus, count),
  by_failure_class: z.record(FailureClass, count),
  success_rate: z.number().min(0).max(1).optional().meta({
    description:
      'ready / (ready + failed); absent when neither is there. Cancelled ones do not count.',
  }),
  duration_ms: Percentiles.optional().meta({
    description: 'First start to end, of the builds that started and are ready or failed.',
  }),
  cache: z
    .object({ steps_total: count, steps_cached: count, by_source: z.record(CacheSource, count) })
    .optional()
    .meta({
      description:
        'Of the builds that are ready: steps of their Dockerfiles, and builds by source.',
    }),
  queue_ms: Percentiles.optional().meta({ description: 'Creation to first start.' }),
})
export type Figures = z.infer<typeof Figures>

export const BuildReport = z
  .object({
    from: z.string(),
    to: z.string(),
    bucket: z.enum(['day']),
    tenant: z.string().optional().meta({ description: 'Absent: all tenants.' }),
    app: z.string().optional(),
    total: Figures,
    buckets: z.array(Figures.extend({ start: z.string().meta({ description: 'The day.' }) })),
  })
  .meta({ id: 'BuildReport', examples: [REPORT_EXAMPLE] })
export type BuildReport = z.infer<typeof BuildReport>
