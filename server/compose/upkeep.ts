// What keeps the place in order while it serves: retention, garbage collection, and the guard of the disk.
import { createDiskGuard } from '../disk-guard/guard.ts'
import { watchDisk } from '../disk-guard/watch.ts'
import { createGarbage } from '../garbage/service.ts'
import { createLfsNames } from '../git/lfs-names.ts'
import { createRetention } from '../retention/retention.ts'
import { createRetentionSchedule } from '../retention/schedule.ts'
import type { GitServices } from './git-services.ts'
import type { ServerCore } from './server-core.ts'

export type Upkeep = ReturnType<typeof createUpkeep>

export function createUpkeep(core: ServerCore, { git, repositories, live }: GitServices) {
  const { config, db, listener, log, paths, objects, lfs } = core
  const retention = createRetention({
    db,
    log: log.child({ mod: 'retention' }),
    settings: config.retention,
    registry: core.registryClient,
    ownsRegistry: core.upstream.kind === 'socket',
    objects,
    lfs,
    lfsNames: createLfsNames({ git, repositories, live }),
    removeTags: repositories.removeBuildTags,
    buildersDir: paths.builders,
    onRun: core.metrics.retention.ran,
  })
  const garbage = createGarbage({
    db,
    upstream: core.upstream,
    log: log.child({ mod: 'garbage' }),
    onRun: core.metrics.garbage.ran,
  })
  const disk = createDiskGuard({
    path: paths.dataDir,
    floorBytes: config.diskFloorBytes,
    onLow: garbage.onLowDisk,
  })
  const schedule = createRetentionSchedule({
    retention,
    listener,
    log: log.child({ mod: 'retention' }),
  })
  return {
    retention,
    garbage,
    disk,

    /** Each ends with the server. */
    start(): void {
      schedule.start()
      core.releasers.add('retention', () => schedule.stop())
      core.metrics.watchDisk(disk.look)
      garbage.start()
      core.releasers.add('garbage collection', () => garbage.stop())
      const diskWatch = watchDisk(disk, log.child({ mod: 'disk' }))
      core.releasers.add('disk watch', () => diskWatch.stop())
    },
  }
}
