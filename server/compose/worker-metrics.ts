// What is measured of a worker in a process of its own.
import { createDiskGuard } from '../disk-guard/guard.ts'
import { serveMetrics } from '../telemetry/metrics-port.ts'
import type { Core } from './core.ts'

export async function serveWorkerMetrics(core: Core): Promise<void> {
  const { config, paths, metrics, releasers } = core
  const disk = createDiskGuard({ path: paths.dataDir, floorBytes: config.diskFloorBytes })
  metrics.watchDisk(disk.look)
  if (config.metricsAt === undefined) return
  const log = core.log.child({ mod: 'metrics' })
  const served = await serveMetrics({ ...config.metricsAt, metrics, log })
  releasers.add('metrics port', served.stop)
  log.info({ url: `${served.url}/metrics` }, 'metrics are served')
}
