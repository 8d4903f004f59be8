// GET /metrics for a Prometheus server. Its numbers are the installation's, so its permission is the operator's.
import { z } from 'zod'
import { route } from '../http/route.ts'
import type { Metrics } from './metrics.ts'

export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

const EXAMPLE = '# TYPE hypeman_build_queue_length gauge\nhypeman_build_queue_length 3\n'

export interface MetricsRoutesOptions {
  metrics: Pick<Metrics, 'prometheus'>
}

export function metricsRoutes({ metrics }: MetricsRoutesOptions) {
  return [
    route({
      id: 'getMetrics',
      method: 'get',
      path: '/metrics',
      summary: 'What this process has measured, for Prometheus',
      tag: 'service',
      permission: 'metrics:read',
      replies: {
        200: {
          description: 'Prometheus text format',
          content: { 'text/plain': z.string().meta({ examples: [EXAMPLE] }) },
        },
      },
      async handle() {
        return { status: 200, text: await metrics.prometheus(), type: METRICS_TYPE }
      },
    }),
  ]
}
