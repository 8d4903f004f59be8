// The git half of the server, listening: real git, hooks, database and object store; builds stay rows, which
// a test moves on as a worker would.
import { chmod, mkdtemp, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { App } from '../../server/apps/schema.ts'
import { type Apps, createApps } from '../../server/apps/service.ts'
import { createAppStore } from '../../server/apps/store.ts'
import { createAuthenticate } from '../../server/auth/authenticate.ts'
import { type ApiTokenRequest, createTokens } from '../../server/auth/tokens.ts'
import { createBuilders } from '../../server/builders/service.ts'
import { appendEvents, type NewEvent } from '../../server/builds/event-store.ts'
import { createBuildLog } from '../../server/builds/log.ts'
import type { BuildStatus } from '../../server/builds/schema.ts'
import { createBuilds } from '../../server/builds/service.ts'
import { toPublic } from '../../server/builds/show.ts'
import { type BuildRow, createBuildStore, toBuild } from '../../server/builds/store.ts'
import { createSubmissions } from '../../server/builds/submit.ts'
import { submitRoute } from '../../server/builds/submit-route.ts'
import { endColumns, transition } from '../../server/builds/transitions.ts'
import { prependPath } from '../../server/config.ts'
import type { Listener } from '../../server/db/listen.ts'
import type { Db } from '../../server/db/pool.ts'
import { createAdmission } from '../../server/git/admission.ts'
import { createGates, type Gates } from '../../server/git/gates.ts'
import { createGitUser, type GitUser } from '../../server/git/git-user.ts'
import { createHookHandlers } from '../../server/git/hook-handlers.ts'
import { createHookLines, type HookLines } from '../../server/git/hook-lines.ts'
import { createGitHttp } from '../../server/git/http.ts'
import { createIntake, type Intake } from '../../server/git/intake.ts'
import { createLivePushes, type LivePushes } from '../../server/git/live.ts'
import type { PushLimits } from '../../server/git/push-places.ts'
import { createFindCommit } from '../../server/git/rebuild.ts'
import { createReconciler, type Reconciler } from '../../server/git/reconcile.ts'
import { createRepositories, type Repositories } from '../../server/git/repositories.ts'
import { createResolveApp } from '../../server/git/resolve-app.ts'
import { createSubmodules } from '../../server/git/submodules.ts'
import { createHttp } from '../../server/http/app.ts'
import type { LfsLimits } from '../../server/lfs/batch.ts'
import { createLfsHttp } from '../../server/lfs/http.ts'
import { createLfsStore, type LfsStore } from '../../server/lfs/store.ts'
import { requireDiskRoom } from '../../server/objects/disk-room.ts'
import { below, type ObjectsLocation, openObjects } from '../../server/objects/location.ts'
import type { Objects } from '../../server/objects/objects.ts'
import { createQueue } from '../../server/queue/queue.ts'
import { reachable } from '../../server/setup/reachable.ts'
import { ensureUsers, type UserIds } from '../../server/setup/users.ts'
import type { ArchiveLimits } from '../../server/sources/archive-check.ts'
import type { Log } from '../../server/telemetry/log.ts'
import { givenDatabase, silent } from './database.ts'
import { removeFolder } from './folders.ts'
import { testParts } from './parts.ts'
import { givenRepo, type Repo, remoteUrl } from './repo.ts'

const REGISTRY = 'registry.test:8083'
const WAIT_MS = 90_000

export interface GitServerOptions {
  archiveLimits?: ArchiveLimits
  lfsLimits?: Partial<LfsLimits>
  /** Instead of a folder of its own. */
  objects?: ObjectsLocation
  freeBytesMin?: number
  heartbeatMs?: number
  idleMaxMs?: number
  packBytesMax?: number
  pushLimits?: PushLimits
  stallMaxMs?: number
  queuedMax?: number
  /** Before a pack and while it comes. */
  requireRoom?: () => Promise<void>
  log?: Log
}

export interface GitServer {
  url: string
  root: string
  user: UserIds | null
  databaseUrl: string
  db: Db
  listener: Listener
  apps: Apps
  git: GitUser
  objects: Objects
  lfs: LfsStore
  repositories: Repositories
  live: LivePushes
  intake: Intake
  gates: Gates
  reconciler: Reconciler
  hooks: HookLines
  token(request?: Partial<ApiTokenRequest>): Promise<string>
  /** A client's repository with a Dockerfile on main and the remote `hypeman` set. */
  givenClient(t: TestContext, app: string, request?: Partial<ApiTokenRequest>): Promise<Repo>
  app(name: string, tenant?: string): Promise<App>
  builds(): Promise<BuildRow[]>
  /** Resolves when there is a build of this status. */
  untilBuild(status?: BuildStatus): Promise<BuildRow>
  move(id: string, from: BuildStatus, to: BuildStatus, set?: object): Promise<void>
  say(id: string, ...events: NewEvent[]): Promise<void>
  /** As a worker that has the image in the registry: what comes after that is the server's. */
  pass(id: string): Promise<void>
  /** Ends a build in any status. */
  end(id: string, to: 'ready' | 'failed' | 'cancelled', set?: object): Promise<void>
  /** Ends every build as soon as it is queued. */
  endAll(): void
  objectFiles(): Promise<string[]>
}

export async function givenGitServer(
  t: TestContext,
  options: GitServerOptions = {},
): Promise<GitServer> {
  // Registered before the database's own, because hooks run in the order of registration.
  const releasers: (() => Promise<unknown>)[] = []
  t.after(async () => {
    for (const release of releasers.reverse()) await release()
  })
  const { db, listener, url: databaseUrl } = await givenDatabase(t)
  const root = await mkdtemp(join(tmpdir(), 'hm-git-'))
  await chmod(root, 0o711)
  releasers.push(() => removeFolder(root))
  const log = options.log ?? silent
  const { setpriv } = await testParts()
  const { git: user } = await ensureUsers()
  const node = await reachable(process.execPath, `node-${process.version}`)
  const staged = join(root, 'staged')
  const { packBytesMax } = options
  const git = await createGitUser({ setpriv, user, node, staged, packBytesMax })
  prependPath(git.launcherDir)

  const repositoriesRoot = join(root, 'repositories')
  const repositories = createRepositories({ root: repositoriesRoot, git })
  const place = options.objects ?? { kind: 'folder', path: join(root, 'objects') }
  const opened = await openObjects(place, { temporary: join(root, 'fetched'), log })
  const ofLfs = await openObjects(below(place, 'lfs'), { temporary: join(root, 'lfs'), log })
  releasers.push(async () => [opened, ofLfs].map(({ close }) => close()))
  const { objects } = opened
  const lfs = createLfsStore({ db, objects: ofLfs.objects, log })
  const { archiveLimits, heartbeatMs, idleMaxMs, queuedMax } = present(options)
  const store = createBuildStore({ db, ...queuedMax })
  const buildLog = createBuildLog({ db, listener })
  const queue = createQueue({ db, store, buildLog })
  const apps = createApps({ db, repositories, log })
  const builders = createBuilders({ db, log, forApps: true })
  let url = ''
  const submodules = createSubmodules({
    git,
    repositories,
    findApp: createAppStore({ db }).find,
    publicUrl: () => url,
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
    ...archiveLimits,
  })
  const hasDiskRoom = () => requireDiskRoom(root, options.freeBytesMin)
  const gates = createGates({ db, store, queue, repositories, log })
  const live = createLivePushes()
  const tokens = createTokens({ secret: 'a secret of the tests, long enough to be one' })
  const hooks = createHookLines({
    log,
    handlers: createHookHandlers({
      admission: createAdmission({
        db,
        requireRoom: store.requireRoom,
        requireDiskRoom: hasDiskRoom,
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
      show: async (id) => toPublic((await store.get(id))!, REGISTRY),
      baseUrl: () => url,
      log,
      ...heartbeatMs,
    }),
  })
  const authenticate = createAuthenticate({ tokens })
  const builds = createBuilds({ db, store, queue, buildLog, registryName: () => REGISTRY })
  const findCommit = createFindCommit({ apps, repositories, submodules, git, objects, lfs })
  const submissions = createSubmissions({
    db,
    store,
    queue,
    objects,
    builders,
    findCommit,
    publicUrl: () => url,
    requireDiskRoom: () => requireDiskRoom(root),
  })
  const http = createHttp({
    log,
    git: createGitHttp({
      apps,
      repositories,
      repositoriesRoot,
      authenticate,
      live,
      hooks,
      log,
      ...idleMaxMs,
      ...(packBytesMax === undefined ? {} : { packBytesMax }),
      ...(options.pushLimits === undefined ? {} : { pushLimits: options.pushLimits }),
      ...(options.stallMaxMs === undefined ? {} : { stallMaxMs: options.stallMaxMs }),
      ...(options.requireRoom === undefined ? {} : { requireRoom: options.requireRoom }),
    }),
    lfs: createLfsHttp({
      store: lfs,
      resolveApp: createResolveApp({ apps, repositories }),
      authenticate,
      publicUrl: () => url,
      requireDiskRoom: hasDiskRoom,
      log,
      limits: options.lfsLimits,
      ...idleMaxMs,
    }),
    registry: (_req, res) => res.writeHead(404).end(),
    authenticate,
    routes: [submitRoute({ builds, submissions })],
  })
  url = await http.listen({ host: '127.0.0.1', port: 0 })
  releasers.push(http.stop, hooks.stop)
  const reconciler = createReconciler({ db, apps, repositories, intake, gates, live, log })
  const token = (request: Partial<ApiTokenRequest> = {}) =>
    tokens.mintApi({ sub: 'ada', tenant: 'acme', ...request })
  const parts = {
    databaseUrl,
    db,
    listener,
    apps,
    git,
    objects,
    lfs,
    repositories,
    live,
    intake,
    gates,
  }
  const server = { url, root, user, ...parts }
  return {
    ...server,
    reconciler,
    hooks,
    token,
    ...workerOf(db, releasers),
    async givenClient(t, app, request) {
      const repo = await givenRepo(t)
      await repo.git(
        'remote',
        'add',
        'hypeman',
        remoteUrl(url, await token(request), `/${app}.git`),
      )
      await repo.write('Dockerfile', 'FROM scratch\n')
      await repo.commit()
      return repo
    },
    async app(name, tenant = 'acme') {
      const principal = { user: 'x', tenant, admin: false, permissions: undefined, jti: 'x' }
      return apps.get(principal, name)
    },
    async objectFiles() {
      const files = await readdir(root, { recursive: true, withFileTypes: true })
      const stored = files.filter((file) => file.isFile() && /\/objects\b/.test(file.path))
      return stored.filter(({ path }) => !path.includes('.git/')).map(({ name }) => name)
    },
  }
}

/** Each option under its own name, or nothing: absent options must be absent. */
function present(options: GitServerOptions) {
  const { archiveLimits, heartbeatMs, idleMaxMs, queuedMax } = options
  return {
    archiveLimits: archiveLimits && { archiveLimits },
    heartbeatMs: heartbeatMs === undefined ? undefined : { heartbeatMs },
    idleMaxMs: idleMaxMs === undefined ? undefined : { idleMaxMs },
    queuedMax: queuedMax === undefined ? undefined : { queuedMax },
  }
}

/** What a worker does to a build, without building. */
function workerOf(db: Db, releasers: (() => Promise<unknown>)[]) {
  const builds = async () => (await db('builds').orderBy('created_at')).map(toBuild)

  async function untilBuild(status: BuildStatus = 'queued'): Promise<BuildRow> {
    for (const deadline = Date.now() + WAIT_MS; Date.now() < deadline; await sleep(10)) {
      const found = (await builds()).find((build) => build.status === status)
      if (found) return found
    }
    throw new Error(`there was no build with status ${status} within ${WAIT_MS} ms`)
  }

  async function move(id: string, from: BuildStatus, to: BuildStatus, set = {}): Promise<void> {
    const moved = await transition(db, { id, from: [from], to, set: { ...set } })
    if (!moved) throw new Error(`build ${id} was not ${from}`)
  }

  async function end(id: string, to: 'ready' | 'failed' | 'cancelled', set = {}): Promise<void> {
    const { status } = toBuild(await db('builds').where({ id }).first())
    const ended = { ...endColumns(db), ...set }
    if (to !== 'ready') return move(id, status, to, ended)
    if (status === 'queued') await move(id, 'queued', 'building')
    if (status !== 'pushing') await move(id, 'building', 'pushing')
    await move(id, 'pushing', 'ready', ended)
  }

  return {
    builds,
    untilBuild,
    move,
    end,
    async pass(id: string): Promise<void> {
      const { status } = toBuild(await db('builds').where({ id }).first())
      if (status === 'queued') await move(id, 'queued', 'building')
      await move(id, 'building', 'pushing')
      const digest = `sha256:${'d'.repeat(64)}`
      const result = { image_digest: digest, result_at: db.raw('clock_timestamp()') }
      await db('builds').where({ id }).update(result)
      await db.raw(`select pg_notify('hypeman_result', ?)`, [id])
    },
    say: async (id: string, ...events: NewEvent[]) => {
      await appendEvents(db, id, events)
    },
    endAll(): void {
      let stopped = false
      const loop = (async () => {
        while (!stopped) {
          for (const build of await builds()) {
            if (build.status === 'queued') await end(build.id, 'ready')
          }
          await sleep(20)
        }
      })()
      releasers.push(async () => {
        stopped = true
        await loop
      })
    },
  }
}
