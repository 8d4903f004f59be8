// The whole REST face over a real database: apps, builds, reports, health, as the server puts them together.
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type AppRepositories, type Apps, createApps } from '../../server/apps/service.ts'
import { type Builders, createBuilders } from '../../server/builders/service.ts'
import { type BuildLog, createBuildLog } from '../../server/builds/log.ts'
import { createBuilds } from '../../server/builds/service.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { createSubmissions, type SubmissionsOptions } from '../../server/builds/submit.ts'
import { watchTransitions } from '../../server/builds/transitions.ts'
import { createAppCache } from '../../server/cache/app-cache.ts'
import { createDiskGuard, type DiskGuardOptions } from '../../server/disk-guard/guard.ts'
import { notFound } from '../../server/errors.ts'
import { createGarbage } from '../../server/garbage/service.ts'
import { createHealth } from '../../server/health/health.ts'
import type { FormLimits } from '../../server/http/multipart.ts'
import { createRoutes } from '../../server/http/routes.ts'
import type { SseOptions } from '../../server/http/sse.ts'
import { createLfsStore } from '../../server/lfs/store.ts'
import { requireDiskRoom } from '../../server/objects/disk-room.ts'
import { createLocalObjects, type LocalObjects } from '../../server/objects/objects.ts'
import { createQueue, type Queue } from '../../server/queue/queue.ts'
import { createReports } from '../../server/reports/service.ts'
import { createRetention, type RetentionOptions } from '../../server/retention/retention.ts'
import type { RetentionSettings } from '../../server/retention/settings.ts'
import { createSecretCipher, type SecretCipher } from '../../server/secrets/cipher.ts'
import { createSecrets } from '../../server/secrets/service.ts'
import type { UploadLimits } from '../../server/sources/upload.ts'
import { createMetrics, type Metrics } from '../../server/telemetry/metrics.ts'
import { createWorkers } from '../../server/workers/service.ts'
import { givenDatabase, silent, type TestDatabase } from './database.ts'
import { removeFolder } from './folders.ts'
import { givenHttp, type TestHttp } from './http.ts'
import { KEEP_ALL } from './retention.ts'

/** A registry that nobody asks. */
const FOREIGN = {
  kind: 'url' as const,
  url: 'http://registry.invalid',
  username: undefined,
  password: undefined,
}

export interface FolderRepositories extends AppRepositories {
  /** Ids of the repositories there are. */
  ids(): Promise<string[]>
  /** Makes the next operation fail. */
  failNext(): void
}

export interface TestApi extends TestHttp, TestDatabase {
  apps: Apps
  metrics: Metrics
  buildLog: BuildLog
  queue: Queue
  builders: Builders
  repositories: FolderRepositories
  objects: LocalObjects
  /** Everything below the object store's folder, half-written files included. */
  objectFiles(): Promise<string[]>
  cipher: SecretCipher
}

export interface TestApiOptions {
  cancelDeadlineMs?: number
  sseOptions?: SseOptions
  now?: () => number
  queuedMax?: number
  buildersMax?: number
  builderDisksMaxGb?: number
  uploadLimits?: UploadLimits
  freeBytesMin?: number
  /** Why the server must not go on. */
  skew?: string
  disk?: Partial<DiskGuardOptions>
  /** While an upload arrives. */
  requireRoom?: () => Promise<void>
  findCommit?: SubmissionsOptions['findCommit']
  /** Instead of a registry's: which repositories are emptied. */
  deleteTags?(repository: string): Promise<void>
  formLimits?: Partial<FormLimits>
  retention?: RetentionSettings
  /** Instead of a registry's. */
  registry?: Partial<RetentionOptions['registry']>
}

export async function givenApi(t: TestContext, options: TestApiOptions = {}): Promise<TestApi> {
  const database = await givenDatabase(t)
  const { listener } = database
  const metrics = createMetrics({ log: silent })
  t.after(() => metrics.stop())
  metrics.watchQueue(database.db)
  const db = watchTransitions(database.db, metrics.build.moved)
  const repositories = await folderRepositories(t)
  const apps = createApps({ db, repositories, log: silent })
  const store = createBuildStore({
    db,
    ...(options.queuedMax ? { queuedMax: options.queuedMax } : {}),
  })
  const buildLog = createBuildLog({ db, listener, watch: metrics.build.follow })
  const queue = createQueue({ db, store, buildLog })
  const builds = createBuilds({
    db,
    store,
    queue,
    buildLog,
    registryName: () => 'registry.example',
    ...(options.cancelDeadlineMs ? { cancelDeadlineMs: options.cancelDeadlineMs } : {}),
  })
  const objectsRoot = await mkdtemp(join(tmpdir(), 'hm-objects-'))
  t.after(() => removeFolder(objectsRoot))
  const objects = createLocalObjects({
    root: objectsRoot,
    ...(options.requireRoom ? { requireRoom: options.requireRoom } : {}),
  })
  const builders = createBuilders({
    db,
    log: silent,
    forApps: true,
    ...(options.buildersMax ? { perTenantMax: options.buildersMax } : {}),
    ...(options.builderDisksMaxGb ? { disksMaxGb: options.builderDisksMaxGb } : {}),
  })
  const submissions = createSubmissions({
    db,
    store,
    queue,
    objects,
    builders,
    findCommit: options.findCommit ?? (() => Promise.reject(notFound('app'))),
    publicUrl: () => 'https://builds.example',
    requireDiskRoom: () => requireDiskRoom(objectsRoot, options.freeBytesMin),
    ...(options.uploadLimits ? { limits: options.uploadLimits } : {}),
  })
  const reports = createReports({ db, ...(options.now ? { now: options.now } : {}) })
  const cipher = createSecretCipher(randomBytes(32))
  const secrets = createSecrets({ db, apps, cipher, log: silent })
  const health = createHealth({
    db,
    log: silent,
    disk: createDiskGuard({ path: tmpdir(), floorBytes: 0, ...options.disk }),
    schema: { skew: () => options.skew },
  })
  const { deleteTags = async () => {} } = options
  const appCache = createAppCache({ db, apps, builders, deleteTags, log: silent })
  const retention = createRetention({
    db,
    log: silent,
    settings: options.retention ?? KEEP_ALL,
    registry: {
      deleteTags: async () => ({ count: 0, bytes: 0 }),
      deleteRepository: async () => ({ bytes: 0 }),
      deletePublished: async () => [],
      hasTags: async () => false,
      async *repositories() {},
      ...options.registry,
    },
    ownsRegistry: true,
    objects,
    lfs: createLfsStore({
      db,
      objects: createLocalObjects({ root: join(objectsRoot, 'lfs') }),
      log: silent,
    }),
    lfsNames: async () => undefined,
    removeTags: async () => {},
    buildersDir: objectsRoot,
    onRun: metrics.retention.ran,
  })
  const { sseOptions } = options
  const face = await givenHttp(
    t,
    (publicUrl) =>
      createRoutes({
        apps,
        appCache,
        secrets,
        builds,
        builders,
        submissions,
        reports,
        retention,
        garbage: createGarbage({ db, upstream: FOREIGN, log: silent }),
        workers: createWorkers({ db, log: silent }),
        health,
        metrics,
        publicUrl,
        ...(sseOptions ? { sseOptions } : {}),
      }),
    {
      onServed: metrics.httpServed,
      ...(options.formLimits ? { formLimits: options.formLimits } : {}),
    },
  )
  return {
    ...database,
    ...face,
    db,
    apps,
    metrics,
    buildLog,
    queue,
    builders,
    repositories,
    cipher,
    objects,
    objectFiles: () => filesIn(objectsRoot),
  }
}

async function filesIn(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name)
}

/** Folders instead of git repositories: what matters here is which exist. */
async function folderRepositories(t: TestContext): Promise<FolderRepositories> {
  const root = await mkdtemp(join(tmpdir(), 'hm-repos-'))
  t.after(() => removeFolder(root))
  let fails = false
  const mayFail = (): void => {
    const now = fails
    fails = false
    if (now) throw new Error('the disk is full')
  }
  return {
    async create(id) {
      await mkdir(join(root, id))
      mayFail()
    },
    async remove(id) {
      mayFail()
      await removeFolder(join(root, id))
    },
    ids: () => readdir(root),
    failNext() {
      fails = true
    },
  }
}
