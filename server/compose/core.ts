// What every role needs: the database, the stores over it, the objects, and what is measured.
import { type BuildLog, createBuildLog } from '../builds/log.ts'
import { type BuildStore, createBuildStore } from '../builds/store.ts'
import { watchTransitions } from '../builds/transitions.ts'
import type { Config } from '../config.ts'
import { requireDatabase } from '../db/first-connection.ts'
import { createListener, type Listener } from '../db/listen.ts'
import { createDb, type Db } from '../db/pool.ts'
import { createSchemaWatch, type SchemaWatch } from '../db/schema-watch.ts'
import { HEARTBEAT_MS } from '../limits.ts'
import { freeBytesMinOf, requireDiskRoom } from '../objects/disk-room.ts'
import { type ObjectsLocation, openObjects } from '../objects/location.ts'
import type { Objects } from '../objects/objects.ts'
import type { Paths } from '../paths.ts'
import type { Releasers } from '../releasers.ts'
import type { Parts } from '../setup/parts-types.ts'
import type { Users } from '../setup/users.ts'
import type { Log } from '../telemetry/log.ts'
import { createMetrics, type Metrics } from '../telemetry/metrics.ts'

export interface Boot {
  config: Config
  parts: Parts
  users: Users
  paths: Paths
  log: Log
  releasers: Releasers
  /** The process must not go on. */
  onUnfit(reason: string): void
}

export interface Core extends Boot {
  databaseUrl: string
  db: Db
  listener: Listener
  schema: SchemaWatch
  store: BuildStore
  buildLog: BuildLog
  objects: Objects
  objectsLocation: ObjectsLocation
  /** On the disk of DATA_DIR. Throws AppError `disk_full`. */
  requireRoom(): Promise<void>
  metrics: Metrics
}

export interface CoreOptions {
  databaseUrl: string
  /** Brings the database up to date, or makes sure that it is. The signal: the process is to end. */
  prepare(db: Db, signal: AbortSignal): Promise<void>
}

export async function startCore(boot: Boot, options: CoreOptions): Promise<Core> {
  const { config, paths, log, releasers, onUnfit } = boot
  const { databaseUrl: url } = options
  const idleInTransactionMs = config.role === 'worker' ? HEARTBEAT_MS : undefined
  const metrics = createMetrics({ log: log.child({ mod: 'metrics' }), otlp: config.otlp })
  const db = watchTransitions(createDb(url, { idleInTransactionMs }), metrics.build.moved)
  releasers.add('database pool', () => db.destroy())
  releasers.add('metrics', () => metrics.stop())
  const preparing = new AbortController()
  releasers.add('preparation of the database', () => preparing.abort())
  if (config.databaseUrl !== undefined) await requireDatabase(db, config.databaseUrl)
  await options.prepare(db, preparing.signal)
  const listener = createListener({ url, log: log.child({ mod: 'listen' }) })
  await listener.start()
  releasers.add('listener', () => listener.stop())
  const schema = createSchemaWatch({ db, listener, log: log.child({ mod: 'schema' }), onUnfit })
  await schema.start()
  releasers.add('watch of the schema', () => schema.stop())
  const requireRoom = () => requireDiskRoom(paths.dataDir, freeBytesMinOf(config.diskFloorBytes))
  const objectsLocation = config.objects ?? { kind: 'folder' as const, path: paths.objects }
  const opened = await openObjects(objectsLocation, {
    temporary: paths.fetchedObjects,
    log: log.child({ mod: 'objects' }),
    requireRoom,
  })
  releasers.add('object storage', opened.close)
  return {
    ...boot,
    databaseUrl: url,
    db,
    listener,
    schema,
    store: createBuildStore({ db }),
    buildLog: createBuildLog({ db, listener, watch: metrics.build.follow }),
    objects: opened.objects,
    objectsLocation,
    requireRoom,
    metrics,
  }
}
