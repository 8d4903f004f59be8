// A moved deploy branch becomes a build: checked, archived, and recorded with its push in one transaction.
// Used by the post-receive hook and by the reconciler; a race between the two queues once.
import { createId } from '@paralleldrive/cuid2'
import type { Knex } from 'knex'
import { type App, effectiveSettings } from '../apps/schema.ts'
import type { BuildRequest } from '../builds/schema.ts'
import type { BuildRow, BuildStore } from '../builds/store.ts'
import type { Db } from '../db/pool.ts'
import { AppError, DOCKERFILE_REQUIRED } from '../errors.ts'
import type { Objects, StoredObject } from '../objects/objects.ts'
import { archiveCommit } from './archive.ts'
import { type CommitFacts, commitFacts } from './commit-facts.ts'
import type { GitUser } from './git-user.ts'
import type { RefUpdate } from './pkt-line.ts'
import type { Repositories } from './repositories.ts'

export interface IntakeOptions {
  db: Db
  store: BuildStore
  objects: Objects
  repositories: Repositories
  git: GitUser
}

export interface MovedRef {
  app: App
  update: RefUpdate
  pusher: string
  source: 'push' | 'reconcile'
  noCache?: boolean
}

export type Intake = ReturnType<typeof createIntake>

export function createIntake({ db, store, objects, repositories, git }: IntakeOptions) {
  /** Records a ref that moved and is not built. */
  async function record(moved: MovedRef): Promise<void> {
    await db.transaction((trx) => insertPush(trx, moved))
  }

  /**
   * Queues a build of the branch's new commit. Throws AppError `dockerfile_required`, `invalid_source` or
   * `source_too_large`; the push is recorded then as well, so that nobody tries it again for ever.
   */
  async function build(moved: MovedRef): Promise<BuildRow> {
    const { app, update } = moved
    try {
      await requireDockerfile(app, update.newSha)
      const gitdir = repositories.path(app.id)
      const [facts, source] = await Promise.all([
        commitFacts(git, gitdir, update.newSha),
        archiveCommit({ git, objects, repoPath: gitdir, commit: update.newSha }),
      ])
      return await queue(moved, facts, source)
    } catch (error) {
      if (error instanceof AppError && error.status < 500) await record(moved)
      throw error
    }
  }

  async function requireDockerfile(app: App, commit: string): Promise<void> {
    const path = effectiveSettings(app.settings).dockerfilePath
    if (await repositories.hasFile(app.id, commit, path)) return
    throw new AppError('dockerfile_required', DOCKERFILE_REQUIRED, {
      hint: `there is no ${path} in ${commit.slice(0, 10)}; add it, or set dockerfile_path of the app`,
    })
  }

  async function queue(
    moved: MovedRef,
    facts: CommitFacts,
    source: StoredObject,
  ): Promise<BuildRow> {
    const { app, update, pusher } = moved
    try {
      return await db.transaction(async (trx) => {
        const known = await lockAndFind(trx, moved)
        if (known) return known
        const pushId = await insertPush(trx, moved)
        return store.insert(trx, {
          id: createId(),
          tenant: app.tenant,
          appId: app.id,
          app: app.name,
          pushId,
          ref: update.ref,
          commit: update.newSha,
          pusher,
          request: requestOf(app, facts, moved.noCache ?? false),
          sourceKey: source.key,
          sourceHash: source.sha256,
          sourceBytes: source.bytes,
        })
      })
    } catch (error) {
      await dropUnused(source)
      throw error
    }
  }

  /** Under the app's row lock: the build that the other way in has made of the same move, if any. */
  async function lockAndFind(
    trx: Knex.Transaction,
    moved: MovedRef,
  ): Promise<BuildRow | undefined> {
    const { app, update } = moved
    await trx.raw('select 1 from apps where id = ? for update', [app.id])
    const latest = await trx('pushes')
      .where({ app_id: app.id, ref: update.ref })
      .orderBy('id', 'desc')
      .first('id', 'new_sha', 'source')
    if (latest?.new_sha !== update.newSha) return undefined
    if (moved.source === 'push' && latest.source === 'push') return undefined
    const built = await trx('builds').where({ push_id: latest.id }).first('id')
    return built && store.get(built.id)
  }

  async function dropUnused(source: StoredObject): Promise<void> {
    const used = await db('builds')
      .where({ source_key: source.key })
      .first('id')
      .catch(() => true) // unknown: keep it
    if (!used) await objects.remove(source.key)
  }

  return { build, record }
}

async function insertPush(trx: Knex.Transaction, moved: MovedRef): Promise<number> {
  const { app, update, pusher, source } = moved
  const [row] = await trx('pushes')
    .insert({
      app_id: app.id,
      ref: update.ref,
      old_sha: update.oldSha,
      new_sha: update.newSha,
      pusher,
      source,
    })
    .returning('id')
  return row.id
}

/** Frozen with the build: a later change of the app's settings does not alter it. */
function requestOf(app: App, facts: CommitFacts, noCache: boolean): BuildRequest {
  const settings = effectiveSettings(app.settings)
  return {
    dockerfile_path: settings.dockerfilePath,
    source_date_epoch: Math.max(0, facts.committedAt),
    ...(settings.target === undefined ? {} : { target: settings.target }),
    ...(settings.buildArgs === undefined ? {} : { build_args: settings.buildArgs }),
    ...(settings.policy === undefined ? {} : { build_policy: settings.policy }),
    ...(settings.cacheScope === undefined ? {} : { cache_scope: settings.cacheScope }),
    ...(noCache ? { no_cache: true } : {}),
  }
}
