// The whole REST face over a real database: apps, builds, reports, health, as the server puts them together.
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type AppRepositories, type Apps, createApps } from '../../server/apps/service.ts'
import { createBuildLog } from '../../server/builds/log.ts'
import { createBuilds } from '../../server/builds/service.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { createHealth } from '../../server/health/health.ts'
import { createRoutes } from '../../server/http/routes.ts'
import type { SseOptions } from '../../server/http/sse.ts'
import { createReports } from '../../server/reports/service.ts'
import { givenDatabase, silent, type TestDatabase } from './database.ts'
import { givenHttp, type TestHttp } from './http.ts'

export interface FolderRepositories extends AppRepositories {
  /** Ids of the repositories there are. */
  ids(): Promise<string[]>
  /** Makes the next operation fail. */
  failNext(): void
}

export interface TestApi extends TestHttp, TestDatabase {
  apps: Apps
  repositories: FolderRepositories
}

export interface TestApiOptions {
  sseOptions?: SseOptions
  now?: () => number
}

export async function givenApi(t: TestContext, options: TestApiOptions = {}): Promise<TestApi> {
  const database = await givenDatabase(t)
  const { db, listener } = database
  const repositories = await folderRepositories(t)
  const apps = createApps({ db, repositories, log: silent })
  const builds = createBuilds({
    db,
    store: createBuildStore({ db }),
    buildLog: createBuildLog({ db, listener }),
    registryName: () => 'registry.example',
  })
  const reports = createReports({ db, ...(options.now ? { now: options.now } : {}) })
  const health = createHealth({ db, log: silent })
  const { sseOptions } = options
  const face = await givenHttp(t, (publicUrl) =>
    createRoutes({
      apps,
      builds,
      reports,
      health,
      publicUrl,
      ...(sseOptions ? { sseOptions } : {}),
    }),
  )
  return { ...database, ...face, apps, repositories }
}

/** Folders instead of git repositories: what matters here is which exist. */
async function folderRepositories(t: TestContext): Promise<FolderRepositories> {
  const root = await mkdtemp(join(tmpdir(), 'hm-repos-'))
  t.after(() => rm(root, { recursive: true, force: true }))
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
      await rm(join(root, id), { recursive: true, force: true })
    },
    ids: () => readdir(root),
    failNext() {
      fails = true
    },
  }
}
