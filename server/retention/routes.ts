// POST /admin/retention: a run of the retention now, or what one would delete.
import { z } from 'zod'
import { BooleanText } from '../http/query.ts'
import { json, route } from '../http/route.ts'
import type { Retention } from './retention.ts'
import { WireReport } from './wire-report.ts'

export function retentionRoutes({ retention }: { retention: Retention }) {
  return [
    route({
      id: 'runRetention',
      tag: 'service',
      method: 'post',
      path: '/admin/retention',
      summary: 'Delete what no policy keeps, or only say what that is',
      permission: 'retention:admin',
      query: z.strictObject({
        dry_run: BooleanText.default(false).meta({ description: 'Delete nothing.' }),
      }),
      replies: { 200: json('What was deleted, or would be, and why', WireReport) },
      errors: ['conflict'],
      async handle({ query: { dry_run: dryRun } }) {
        const { totals, deleted, failures, builders, tookMs } = dryRun
          ? await retention.look()
          : await retention.run()
        const rest = { totals, deleted, failures, builders }
        return { status: 200, json: { dry_run: dryRun, took_ms: tookMs, ...rest } }
      },
    }),
  ]
}
