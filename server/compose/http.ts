// All that is served by HTTP, on one port: git, LFS, the registry, the workers' API and REST.
import { createAuthenticate } from '../auth/authenticate.ts'
import { createBuilds } from '../builds/service.ts'
import { createSubmissions } from '../builds/submit.ts'
import { createAppCache } from '../cache/app-cache.ts'
import { createGitHttp } from '../git/http.ts'
import { createFindCommit } from '../git/rebuild.ts'
import { createResolveApp } from '../git/resolve-app.ts'
import { createHealth } from '../health/health.ts'
import { createHttp } from '../http/app.ts'
import { createRoutes } from '../http/routes.ts'
import { createLfsHttp } from '../lfs/http.ts'
import { createReports } from '../reports/service.ts'
import { createSecrets } from '../secrets/service.ts'
import { createWorkerApi } from '../workers/api.ts'
import { createWorkers } from '../workers/service.ts'
import type { GitServices } from './git-services.ts'
import { registryProxy } from './registry-proxy.ts'
import type { ServerCore } from './server-core.ts'
import type { Upkeep } from './upkeep.ts'

export function createServerHttp(core: ServerCore, services: GitServices, upkeep: Upkeep) {
  const { config, log, paths, lfs } = core
  const { apps, repositories, live, hooks } = services
  const authenticate = createAuthenticate({ tokens: core.tokens })
  const registry = registryProxy(core, core.publicUrl)
  return createHttp({
    log: log.child({ mod: 'http' }),
    git: createGitHttp({
      apps,
      repositories,
      repositoriesRoot: paths.repositories,
      authenticate,
      live,
      hooks,
      requireRoom: core.requireRoom,
      log: log.child({ mod: 'git' }),
    }),
    lfs: createLfsHttp({
      store: lfs,
      resolveApp: createResolveApp({ apps, repositories }),
      authenticate,
      publicUrl: core.publicUrl,
      requireDiskRoom: core.requireRoom,
      log: log.child({ mod: 'lfs' }),
    }),
    registry: (req, res) => void registry(req, res),
    workers: createWorkerApi({
      tokens: core.tokens,
      desk: core.desk,
      welcome: () => ({
        registry_name: core.registryName(),
        public_url: core.publicUrl(),
        build_timeout_seconds: config.buildTimeoutSeconds,
        mirror_hosts: [...(core.mirror?.hosts ?? [])],
      }),
      log: log.child({ mod: 'workers' }),
    }),
    authenticate,
    onServed: core.metrics.httpServed,
    routes: createServerRoutes(core, services, upkeep),
  })
}

function createServerRoutes(core: ServerCore, services: GitServices, upkeep: Upkeep) {
  const { db, log, store, queue, buildLog, objects, lfs, schema } = core
  const { apps, builders, repositories, submodules, git } = services
  const { retention, garbage, disk } = upkeep
  const builds = createBuilds({ db, store, queue, buildLog, registryName: core.registryName })
  return createRoutes({
    apps,
    appCache: createAppCache({
      db,
      apps,
      builders,
      deleteTags: core.registryClient.deleteTags,
      log: log.child({ mod: 'cache' }),
    }),
    secrets: createSecrets({
      db,
      apps,
      cipher: core.secretCipher,
      log: log.child({ mod: 'secrets' }),
    }),
    builds,
    builders,
    submissions: createSubmissions({
      db,
      store,
      queue,
      objects,
      builders,
      findCommit: createFindCommit({ apps, repositories, submodules, git, objects, lfs }),
      publicUrl: core.publicUrl,
      requireDiskRoom: core.requireRoom,
    }),
    workers: createWorkers({ db, log: log.child({ mod: 'workers' }) }),
    reports: createReports({ db }),
    retention,
    garbage,
    health: createHealth({ db, log: log.child({ mod: 'health' }), disk, schema }),
    metrics: core.metrics,
    publicUrl: core.publicUrl,
  })
}
