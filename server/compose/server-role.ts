// The server role: git, REST, registry proxy, hooks, reconciler, and the finishing of builds.
import { createApps } from '../apps/service.ts'
import { createAppStore } from '../apps/store.ts'
import { createAuthenticate } from '../auth/authenticate.ts'
import { createBuilders } from '../builders/service.ts'
import { createFinish, tagMessage } from '../builds/finish.ts'
import { createBuilds } from '../builds/service.ts'
import { toPublic } from '../builds/show.ts'
import { createSubmissions } from '../builds/submit.ts'
import { createAppCache } from '../cache/app-cache.ts'
import { prependPath } from '../config.ts'
import { createDiskGuard } from '../disk-guard/guard.ts'
import { watchDisk } from '../disk-guard/watch.ts'
import { notFound } from '../errors.ts'
import { createGarbage } from '../garbage/service.ts'
import { createAdmission } from '../git/admission.ts'
import { createGates } from '../git/gates.ts'
import { createGitUser } from '../git/git-user.ts'
import { createHookHandlers } from '../git/hook-handlers.ts'
import { createHookLines } from '../git/hook-lines.ts'
import { createGitHttp } from '../git/http.ts'
import { createIntake } from '../git/intake.ts'
import { createLfsNames } from '../git/lfs-names.ts'
import { createLivePushes } from '../git/live.ts'
import { createFindCommit } from '../git/rebuild.ts'
import { createReconciler } from '../git/reconcile.ts'
import { createRepositories } from '../git/repositories.ts'
import { createResolveApp } from '../git/resolve-app.ts'
import { createSubmodules } from '../git/submodules.ts'
import { tagCommit } from '../git/tags.ts'
import { createHealth } from '../health/health.ts'
import { createHttp } from '../http/app.ts'
import { createRoutes } from '../http/routes.ts'
import { createLfsHttp } from '../lfs/http.ts'
import { createReports } from '../reports/service.ts'
import { createRetention } from '../retention/retention.ts'
import { createRetentionSchedule } from '../retention/schedule.ts'
import { createSecrets } from '../secrets/service.ts'
import { reachable } from '../setup/reachable.ts'
import { createWorkerApi } from '../workers/api.ts'
import { createWorkers } from '../workers/service.ts'
import { registryProxy } from './registry-proxy.ts'
import type { ServerCore } from './server-core.ts'

export async function startServerRole(core: ServerCore): Promise<{ url: string }> {
  const { config, db, listener, schema, log, paths, parts, users } = core
  const { store, queue, buildLog, objects, lfs } = core
  await objects.sweep()
  await lfs.sweepStaged()
  const git = await createGitUser({
    setpriv: parts.setpriv,
    user: users.git,
    node: await reachable(process.execPath, `node-${process.version}`),
    staged: paths.staged,
  })
  prependPath(git.launcherDir)
  const repositories = createRepositories({ root: paths.repositories, git })
  const apps = createApps({ db, repositories, log: log.child({ mod: 'apps' }) })
  const authenticate = createAuthenticate({ tokens: core.tokens })
  const builds = createBuilds({ db, store, queue, buildLog, registryName: core.registryName })
  const builders = createBuilders({
    db,
    log: log.child({ mod: 'builders' }),
    forApps: config.runner !== 'bubblewrap',
    disksMaxGb: config.builderDisksMaxGb,
  })
  const submodules = createSubmodules({
    git,
    repositories,
    findApp: createAppStore({ db }).find,
    publicUrl: core.publicUrl,
  })
  const intake = createIntake({
    db,
    store,
    queue,
    objects,
    lfs,
    builders,
    repositories,
    submodules,
    git,
  })
  const gates = createGates({ db, store, queue, repositories, log: log.child({ mod: 'gates' }) })
  const live = createLivePushes()

  const hooks = createHookLines({
    log: log.child({ mod: 'hooks' }),
    handlers: createHookHandlers({
      admission: createAdmission({
        db,
        requireRoom: store.requireRoom,
        requireDiskRoom: core.requireRoom,
      }),
      intake,
      gates,
      live,
      repositories,
      store,
      listener,
      buildLog,
      position: queue.position,
      waitReason: queue.waitReason,
      async show(id) {
        const row = await store.get(id)
        if (!row) throw notFound('build')
        return toPublic(row, core.registryName())
      },
      baseUrl: core.publicUrl,
      log: log.child({ mod: 'hooks' }),
    }),
  })
  core.releasers.add('hooks', () => hooks.stop())

  const registry = registryProxy(core, core.publicUrl)
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
  const http = createHttp({
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
    routes: createRoutes({
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
    }),
  })

  const schedule = createRetentionSchedule({
    retention,
    listener,
    log: log.child({ mod: 'retention' }),
  })
  const finish = createFinish({
    db,
    listener,
    log: log.child({ mod: 'finish' }),
    tagImage: core.registryClient.tag,
    publishImage: core.registryClient.publish,
    async tagCommit(build) {
      const { appId, commit } = build
      if (!appId || !commit || !(await repositories.exists(appId))) return
      await tagCommit({
        gitdir: repositories.path(appId),
        name: `builds/${build.id}`,
        commit,
        message: tagMessage(build, core.registryName()),
        user: users.git,
      })
    },
  })

  const url = await http.listen({ host: config.host, port: config.port })
  core.releasers.add('http', async () => {
    await hooks.quiesce() // before http, so that a followed push hears why its lines end
    await http.stop()
  })
  core.setPublicUrl(url)
  finish.start()
  core.releasers.add('finish', () => finish.stop())
  const reconciler = createReconciler({
    db,
    apps,
    repositories,
    intake,
    gates,
    live,
    log: log.child({ mod: 'reconciler' }),
  })
  schedule.start()
  core.releasers.add('retention', () => schedule.stop())
  core.metrics.watchDisk(disk.look)
  garbage.start()
  const diskWatch = watchDisk(disk, log.child({ mod: 'disk' }))
  core.releasers.add('disk watch', () => diskWatch.stop())
  core.releasers.add('garbage collection', () => garbage.stop())
  await reconciler.start()
  core.releasers.add('reconciler', () => reconciler.stop())
  return { url }
}
