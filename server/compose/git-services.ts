// What pushes go through: the git user, the repositories, intake, gates, and the hooks that ask.
import { createApps } from '../apps/service.ts'
import { createAppStore } from '../apps/store.ts'
import { createBuilders } from '../builders/service.ts'
import { toPublic } from '../builds/show.ts'
import { prependPath } from '../config.ts'
import { notFound } from '../errors.ts'
import { createAdmission } from '../git/admission.ts'
import { createGates } from '../git/gates.ts'
import { createGitUser } from '../git/git-user.ts'
import { createHookHandlers } from '../git/hook-handlers.ts'
import { createHookLines } from '../git/hook-lines.ts'
import { createIntake } from '../git/intake.ts'
import { createLivePushes } from '../git/live.ts'
import { createReconciler } from '../git/reconcile.ts'
import { createRepositories } from '../git/repositories.ts'
import { createSubmodules } from '../git/submodules.ts'
import { reachable } from '../setup/reachable.ts'
import type { ServerCore } from './server-core.ts'

export type GitServices = Awaited<ReturnType<typeof createGitServices>>

export async function createGitServices(core: ServerCore) {
  const { config, db, log, paths, parts, users, store, queue, objects, lfs } = core
  const git = await createGitUser({
    setpriv: parts.setpriv,
    user: users.git,
    node: await reachable(process.execPath, `node-${process.version}`),
    staged: paths.staged,
  })
  prependPath(git.launcherDir)
  const repositories = createRepositories({ root: paths.repositories, git })
  const apps = createApps({ db, repositories, log: log.child({ mod: 'apps' }) })
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
  const known = { apps, repositories, submodules, intake, gates, live }
  const hooks = createHooks(core, known)
  core.releasers.add('hooks', () => hooks.stop())
  const reconciler = createReconciler({ db, ...known, log: log.child({ mod: 'reconciler' }) })
  return { ...known, git, builders, hooks, reconciler }
}

type Known = Pick<
  Parameters<typeof createHookHandlers>[0],
  'intake' | 'gates' | 'live' | 'repositories'
>

function createHooks(core: ServerCore, { intake, gates, live, repositories }: Known) {
  const { db, listener, log, store, queue, buildLog } = core
  return createHookLines({
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
}
