// /reports: parse, call the service, show as JSON or CSV.
import { z } from 'zod'
import { route } from '../http/route.ts'
import { toCsv } from './csv.ts'
import { REPORT_EXAMPLE } from './examples.ts'
import { BuildReport, ReportQuery } from './schema.ts'
import type { Reports } from './service.ts'

export function reportRoutes({ reports }: { reports: Reports }) {
  return [
    route({
      id: 'reportBuilds',
      method: 'get',
      path: '/reports/builds',
      summary: 'Builds per day: outcomes, durations and queue waits',
      tag: 'reports',
      permission: 'build:read',
      query: ReportQuery,
      replies: {
        200: {
          description: 'The report',
          content: {
            'application/json': BuildReport,
            'text/csv': z.string().meta({ examples: [toCsv(BuildReport.parse(REPORT_EXAMPLE))] }),
          },
        },
      },
      async handle({ principal, query }) {
        const report = await reports.builds(principal, query)
        if (query.format === 'json') return { status: 200, json: report }
        const name = `builds-${report.from}-${report.to}.csv`
        return {
          status: 200,
          text: toCsv(report),
          type: 'text/csv; charset=utf-8',
          headers: { 'Content-Disposition': `attachment; filename="${name}"` },
        }
      },
    }),
  ]
}
