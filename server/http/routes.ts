// The whole route table: every domain's rows and the document that describes them.
import { appRoutes } from '../apps/routes.ts'
import type { Apps } from '../apps/service.ts'
import { builderRoutes } from '../builders/routes.ts'
import type { Builders } from '../builders/service.ts'
import { buildRoutes } from '../builds/routes.ts'
import type { Builds } from '../builds/service.ts'
import type { Submissions } from '../builds/submit.ts'
import type { AppCache } from '../cache/app-cache.ts'
import { cacheRoutes } from '../cache/routes.ts'
import { garbageRoutes } from '../garbage/routes.ts'
import type { Garbage } from '../garbage/service.ts'
import type { Health } from '../health/health.ts'
import { healthRoutes } from '../health/routes.ts'
import { reportRoutes } from '../reports/routes.ts'
import type { Reports } from '../reports/service.ts'
import type { Retention } from '../retention/retention.ts'
import { retentionRoutes } from '../retention/routes.ts'
import { secretRoutes } from '../secrets/routes.ts'
import type { Secrets } from '../secrets/service.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { metricsRoutes } from '../telemetry/routes.ts'
import { workerRoutes } from '../workers/routes.ts'
import type { Workers } from '../workers/service.ts'
import { withDocs } from './docs.ts'
import type { Route } from './route.ts'
import type { SseOptions } from './sse.ts'

export interface RoutesOptions {
  apps: Apps
  appCache: AppCache
  secrets: Secrets
  builds: Builds
  builders: Builders
  submissions: Submissions
  reports: Reports
  retention: Retention
  garbage: Pick<Garbage, 'run'>
  workers: Workers
  health: Health
  metrics: Pick<Metrics, 'prometheus'>
  /** Known once the server listens. */
  publicUrl: () => string
  sseOptions?: SseOptions
}

export function createRoutes(options: RoutesOptions): Route[] {
  return withDocs([
    ...healthRoutes(options),
    ...appRoutes(options),
    ...cacheRoutes(options),
    ...secretRoutes(options),
    ...buildRoutes(options),
    ...builderRoutes(options),
    ...reportRoutes(options),
    ...retentionRoutes(options),
    ...garbageRoutes(options),
    ...workerRoutes(options),
    ...metricsRoutes(options),
  ])
}
