// A moved deploy branch becomes a build: checked, archived, and recorded with its push in one transaction.
// Used by the post-receive hook and by the reconciler; a race between the two queues once.
import { posix } from 'node:path'
import { createId } from '@paralleldrive/cuid2'
import type { Knex } from 'knex'
import { type App, effectiveSettings } from '../apps/schema.ts'
import type { Builders } from '../builders/service.ts'
import type { BuildRequest, Submodule } from '../builds/request-schema.ts'
import { type BuildRow, type BuildStore, type NewBuild, toBuild } from '../builds/store.ts'
import { appCacheScope } from '../cache/keys.ts'
import { lockApp } from '../db/lock-order.ts'
import type { Db } from '../db/pool.ts'
import { AppError, DOCKERFILE_REQUIRED } from '../errors.ts'
import type { LfsStore } from '../lfs/store.ts'
import type { Objects } from '../objects/objects.ts'
import type { Queue } from '../queue/queue.ts'
import { supersede } from '../queue/supersede.ts'
import { createSerial } from '../serial.ts'
import type { ArchiveLimits } from '../sources/archive-check.ts'
import { type Archive, archiveCommit } from './archive.ts'
import { type CommitFacts, commitFacts } from './commit-facts.ts'
import type { GitUser } from './git-user.ts'
import type { RefUpdate } from './pkt-line.ts'
import { mergeBuildArgs, NO_OPTIONS, type PushOptions } from './push-options.ts'
import { addPush } from './push-order.ts'
import { latestPush, type MovedRef, type PushRow } from './push-store.ts'
import type { Repositories } from './repositories.ts'
import { requireSubmodulesReachable, type Submodules } from './submodules.ts'

const DOCKERFILE_DEFAULT = 'Dockerfile'

export interface IntakeOptions {
  db: Db
  store: BuildStore
  queue: Queue
  objects: Objects
  lfs: LfsStore
  builders: Pick<Builders, 'ofApp'>
  repositories: Repositories
  submodules: Submodules
  git: GitUser
  archiveLimits?: ArchiveLimits
}

export interface LostMove {
  app: App
  update: RefUpdate
  /** The push that came after it; undefined: none. */
  before?: PushRow | undefined
  /** Number of the push that stood before it when the loss was noticed. */
  latestPushId: number | undefined
}

interface Prepared {
  facts: SourceFacts
  archive: Archive
}

export interface Queued {
  build: BuildRow
  /** Sentences for the person who pushed. */
  warnings: string[]
}

/** What of a commit is frozen with its build. */
export interface SourceFacts extends CommitFacts {
  submodules: readonly Submodule[]
}

export type Intake = ReturnType<typeof createIntake>

export function createIntake(options: IntakeOptions) {
  const { db, store, queue, objects, lfs, builders, repositories, submodules, git, archiveLimits } =
    options
  const serial = createSerial()

  /** Records a ref that moved and is not built. */
  async function record(moved: MovedRef, before?: PushRow): Promise<void> {
    await db.transaction(async (trx) => {
      await requireApp(trx, moved)
      await addPush(trx, repositories, moved, before)
    })
  }

  /**
   * Queues a build of a branch that was pushed. Throws AppError `dockerfile_required`, `invalid_source` or
   * `source_too_large`; the push is recorded then as well, so that nobody tries it again for ever. Throws
   * `queue_full`, and leaves the push to the reconciler.
   */
  function build(moved: MovedRef, options: PushOptions, id = createId()): Promise<Queued> {
    return serial.run(moved.app.id, async () => {
      const { facts, archive } = await prepareMoved(moved)
      const request = requestOf(moved.app, facts, options)
      const build = await insertWith(archive, async (trx) => {
        await requireApp(trx, moved)
        const latest = await latestPush(trx, moved.app.id, moved.update.ref)
        // The reconciler was faster with this very move.
        if (latest?.source === 'reconcile' && latest.newSha === moved.update.newSha) {
          const queued = await trx('builds').where({ push_id: latest.id }).first()
          if (queued) return toBuild(queued)
        }
        const pushId = await addPush(trx, repositories, moved)
        return insertBuild(trx, moved, request, archive, { pushId, id })
      })
      return { build, warnings: archive.warnings }
    })
  }

  /**
   * Queues a build of a commit whose branch moves only when it has passed; what it throws is as for build(),
   * and nothing is recorded then.
   */
  function gate(wanted: MovedRef, options: PushOptions): Promise<Queued> {
    return serial.run(wanted.app.id, async () => {
      const { facts, archive } = await prepare(wanted)
      const request = requestOf(wanted.app, facts, options)
      const build = await insertWith(archive, async (trx) => {
        await requireApp(trx, wanted)
        return insertBuild(trx, wanted, request, archive, {})
      })
      return { build, warnings: archive.warnings }
    })
  }

  /** Queues a build of a branch that moved unseen; undefined when somebody has seen to it meanwhile. */
  function recover(lost: LostMove): Promise<string | undefined> {
    const { app, update, before, latestPushId } = lost
    const moved: MovedRef = { app, update, pusher: 'reconciler', source: 'reconcile' }
    return serial.run(app.id, async () => {
      const known = await latestPush(db, app.id, update.ref, before)
      if (known?.id !== latestPushId) return undefined
      const { facts, archive } = await prepareMoved(moved, before)
      const request = requestOf(app, facts)
      return insertWith(archive, async (trx) => {
        await requireApp(trx, moved)
        const latest = await latestPush(trx, app.id, update.ref, before)
        if (latest?.id !== latestPushId) return undefined
        const pushId = await addPush(trx, repositories, moved, before)
        return (await insertBuild(trx, moved, request, archive, { pushId })).id
      })
    })
  }

  async function insertWith<T>(
    { source }: Archive,
    insert: (trx: Knex.Transaction) => Promise<T>,
  ): Promise<T> {
    try {
      return await db.transaction(insert)
    } finally {
      await source.discard()
    }
  }

  /** What can never be built is recorded all the same: the branch has moved. */
  async function prepareMoved(moved: MovedRef, before?: PushRow): Promise<Prepared> {
    try {
      return await prepare(moved)
    } catch (error) {
      const isFinal = error instanceof AppError && error.status < 500 && error.code !== 'queue_full'
      if (isFinal) await record(moved, before)
      throw error
    }
  }

  async function prepare({ app, update }: MovedRef): Promise<Prepared> {
    const repoPath = repositories.path(app.id)
    const dockerfile = dockerfileOf(app)
    const commit = update.newSha
    // Before the work, and not recorded: the reconciler queues it when there is room.
    await store.requireRoom(app.tenant)
    const facts = await commitFacts(git, repoPath, commit)
    try {
      const plan = await submodules.plan(app, commit)
      await requireSubmodulesReachable(plan.submodules, app.settings.policy)
      const from = { git, objects, lfs, appId: app.id, repoPath, commit, plan }
      const archive = await archiveCommit({ ...from, dockerfile, limits: archiveLimits })
      return { facts: { ...facts, submodules: plan.submodules }, archive }
    } catch (error) {
      // Whatever else is wrong with the commit, this comes first. Asked only now, because git is a process.
      if (error instanceof AppError) await requireDockerfile(app, commit, dockerfile)
      throw error
    }
  }

  async function requireDockerfile(app: App, commit: string, path: string): Promise<void> {
    if (await repositories.hasFile(app.id, commit, path)) return
    throw new AppError('dockerfile_required', DOCKERFILE_REQUIRED, {
      hint: `there is no ${path} in ${commit.slice(0, 10)}; add it, or set dockerfile_path of the app`,
    })
  }

  async function requireApp(trx: Knex.Transaction, { app }: MovedRef): Promise<void> {
    if (await lockApp(trx, app.id)) return
    throw new AppError('not_found', `the app ${app.name} was removed meanwhile`)
  }

  async function insertBuild(
    trx: Knex.Transaction,
    moved: MovedRef,
    request: BuildRequest,
    { source }: Archive,
    { pushId, id: buildId = createId() }: { pushId?: number; id?: string },
  ): Promise<BuildRow> {
    const { app, update, pusher } = moved
    const { id, name, tenant } = app
    const { builder: wanted, priority, supersede: which = 'off' } = app.settings
    const use = { id, name, tenant, builder: wanted }
    const builder = await builders.ofApp(trx, use, { promotes: true })
    const added: NewBuild = {
      id: buildId,
      tenant: app.tenant,
      appId: app.id,
      app: app.name,
      // Without a push its branch has yet to move.
      ...(pushId === undefined ? { gate: 'closed' as const } : { pushId }),
      ref: update.ref,
      commit: update.newSha,
      pusher,
      request,
      builder,
      priority,
      sourceKey: source.key,
      sourceHash: source.sha256,
      sourceBytes: source.bytes,
    }
    const build = await queue.add(trx, added)
    await supersede(trx, build, which)
    await source.keep()
    return build
  }

  return {
    build,
    gate,
    recover,
    record,
    /** Whether a ref of the app is being taken in right now. */
    isBusy: (appId: string) => serial.isBusy(appId),
  }
}

function dockerfileOf(app: App): string {
  return posix.normalize(effectiveSettings(app.settings).dockerfilePath ?? DOCKERFILE_DEFAULT)
}

/** Frozen with the build: a later change of the app's settings does not alter it. */
export function requestOf(app: App, facts: SourceFacts, options = NO_OPTIONS): BuildRequest {
  const { target, attestations, secrets, policy: ofApp } = effectiveSettings(app.settings)
  const { noCache, timeoutSeconds } = options
  const buildArgs = mergeBuildArgs(app.settings.buildArgs, options)
  const policy =
    timeoutSeconds === undefined ? ofApp : { ...ofApp, timeout_seconds: timeoutSeconds }
  return {
    dockerfile_path: dockerfileOf(app),
    source_date_epoch: Math.max(0, facts.committedAt),
    ...(target === undefined ? {} : { target }),
    ...(Object.keys(buildArgs).length === 0 ? {} : { build_args: buildArgs }),
    ...(policy === undefined ? {} : { build_policy: policy }),
    cache_scope: appCacheScope(app),
    ...(attestations === undefined ? {} : { attestations }),
    ...(secrets === undefined ? {} : { secrets: [...secrets] }),
    ...(facts.submodules.length === 0 ? {} : { submodules: [...facts.submodules] }),
    ...(noCache ? { no_cache: true } : {}),
  }
}
