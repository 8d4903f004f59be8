// A commit of a hosted app to be built again: found by branch, tag or hash, reachable from what the app's
// refs hold now, with the app's settings as defaults.

import { isBranchName } from '../apps/branch-name.ts'
import type { App } from '../apps/schema.ts'
import type { Apps } from '../apps/service.ts'
import { may, type Principal } from '../auth/principal.ts'
import type { HostedCommit, WantedCommit } from '../builds/submit.ts'
import { AppError, invalidRequest, notFound } from '../errors.ts'
import type { LfsStore } from '../lfs/store.ts'
import type { Objects } from '../objects/objects.ts'
import type { ArchiveLimits } from '../sources/archive-check.ts'
import { archiveCommit } from './archive.ts'
import { commitFacts } from './commit-facts.ts'
import type { GitUser } from './git-user.ts'
import { requestOf } from './intake.ts'
import { HOSTED, type Repositories } from './repositories.ts'
import type { Submodules } from './submodules.ts'

export interface FindCommitOptions {
  apps: Pick<Apps, 'get'>
  repositories: Repositories
  submodules: Submodules
  git: GitUser
  objects: Objects
  lfs: LfsStore
  archiveLimits?: ArchiveLimits
}

export function createFindCommit(options: FindCommitOptions) {
  const { apps, repositories, submodules, git, objects, lfs, archiveLimits: limits } = options

  return async (principal: Principal, wanted: WantedCommit): Promise<HostedCommit> => {
    if (!may(principal, 'app:read')) {
      throw new AppError('forbidden', 'missing required scope: app:read, to build a hosted app')
    }
    const app = await apps.get(principal, wanted.app)
    const { ref, commit } = await locate(app, wanted)
    const repoPath = repositories.path(app.id)
    const plan = await submodules.plan(app, commit)
    const facts = {
      ...(await commitFacts(git, repoPath, commit)),
      submodules: plan.submodules,
    }
    const from = { git, objects, lfs, appId: app.id, repoPath, commit, plan, limits }
    return {
      appId: app.id,
      commit,
      builder: app.settings.builder,
      priority: app.settings.priority,
      ...(ref === undefined ? {} : { ref }),
      defaults: requestOf(app, facts),
      archive: (dockerfile) => archiveCommit({ ...from, dockerfile }),
    }
  }

  async function locate(app: App, { ref, commit: hash, head }: WantedCommit) {
    const name = head ? await headOf(app) : ref
    return locateNamed(app, name, hash)
  }

  async function headOf(app: App): Promise<string> {
    return git.run(['-C', repositories.path(app.id), 'symbolic-ref', 'HEAD'])
  }

  async function locateNamed(app: App, name: string | undefined, hash: string | undefined) {
    const ref = name === undefined ? undefined : await findRef(app, name)
    if (hash === undefined) {
      if (ref === undefined) throw invalidRequest('app needs ref or commit: which one to build')
      return ref
    }
    const commit = await peel(app, hash)
    const within = ref === undefined ? HOSTED : [ref.ref]
    if (commit === undefined || !(await repositories.holds(app.id, commit, within))) {
      const where = ref === undefined ? 'any branch or tag' : ref.ref
      throw new AppError('not_found', `commit ${hash} is not in ${where} of the app ${app.name}`)
    }
    return { ref: ref?.ref, commit }
  }

  async function findRef(app: App, name: string): Promise<{ ref: string; commit: string }> {
    const kind = HOSTED.find((prefix) => name.startsWith(prefix))
    const short = kind === undefined ? name : name.slice(kind.length)
    if (!isBranchName(short)) {
      throw invalidRequest(`field ref=${JSON.stringify(name)}: must be the name of a branch or tag`)
    }
    for (const prefix of kind === undefined ? HOSTED : [kind]) {
      const commit = await peel(app, prefix + short)
      if (commit !== undefined) return { ref: prefix + short, commit }
    }
    throw notFound(`ref ${name} of the app ${app.name}`)
  }

  /** The commit something names; undefined when there is none, or more than one. */
  async function peel(app: App, revision: string): Promise<string | undefined> {
    const args = ['rev-parse', '--verify', '--quiet', '--end-of-options', `${revision}^{commit}`]
    return git.run(['-C', repositories.path(app.id), ...args]).catch(onlyExit)
  }
}

/** git's own "no" is an answer; that it could not run or took too long is not. */
function onlyExit(error: { exitCode?: number }): undefined {
  if (error.exitCode === undefined) throw error
}
