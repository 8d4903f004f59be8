// Where each submodule of a commit comes from: an app of the same tenant, whose commit goes into the archive,
// or a public repository, which the build fetches itself. Anything else is refused before anything is queued.
import { type App, effectiveSettings } from '../apps/schema.ts'
import { hostedName, parseRepoUrl, requireReachable, shown } from '../builds/repo-url.ts'
import type { BuildPolicy, Submodule } from '../builds/request-schema.ts'
import { AppError, asError } from '../errors.ts'
import { ARCHIVE_DEADLINE_MS, SUBMODULE_DEPTH_MAX, SUBMODULES_MAX } from '../limits.ts'
import type { GitUser } from './git-user.ts'
import { addressesOf, type Gitlink, gitlinksOf } from './gitlinks.ts'
import type { Repositories } from './repositories.ts'

/** The commit of an app at a path of another app's source. */
export interface HostedSubmodule {
  appId: string
  repoPath: string
  commit: string
  path: string
}

export interface SubmodulePlan {
  /** All of them, by path. */
  submodules: Submodule[]
  hosted: HostedSubmodule[]
  /** Whether there are some, and the app wants none of them. */
  isIgnoring: boolean
}

export interface SubmodulesOptions {
  git: GitUser
  repositories: Pick<Repositories, 'path' | 'exists' | 'hasFile' | 'holds'>
  findApp(tenant: string, name: string): Promise<App | undefined>
  publicUrl(): string
}

export type Submodules = ReturnType<typeof createSubmodules>

interface Place {
  app: Pick<App, 'id' | 'tenant' | 'name'>
  commit: string
  /** Empty, or ends in a slash. */
  prefix: string
  depth: number
}

export function createSubmodules({ git, repositories, findApp, publicUrl }: SubmodulesOptions) {
  const urlOf = ({ tenant, name }: Place['app']) => `${publicUrl()}/${tenant}/${name}.git`

  async function walk(place: Place, plan: SubmodulePlan, signal: AbortSignal): Promise<void> {
    const { app, commit, prefix, depth } = place
    const repoPath = repositories.path(app.id)
    const links = await gitlinksOf(git, repoPath, commit, signal)
    if (links.length === 0) return
    const addresses = await readAddresses(place, repoPath)
    for (const link of links) {
      const path = prefix + link.path
      const url = addresses.get(link.path)
      if (url === undefined) {
        throw refused(path, '.gitmodules has no address for it', `git rm --cached ${path}`)
      }
      if (depth >= SUBMODULE_DEPTH_MAX) {
        throw refused(path, `it lies deeper than ${SUBMODULE_DEPTH_MAX} submodules in each other`)
      }
      if (plan.submodules.length >= SUBMODULES_MAX) {
        throw refused(path, `there are more than ${SUBMODULES_MAX} submodules`)
      }
      await take({ ...link, path }, { url, place, plan, signal })
    }
  }

  async function take(
    { path, commit }: Gitlink,
    { url, place, plan, signal }: Taking,
  ): Promise<void> {
    const hosted = await sayingPath(path, url, () => findHosted(url, place.app))
    if (!hosted) {
      const fetched = await sayingPath(path, url, async () => parseRepoUrl(url))
      plan.submodules.push({ path, url: fetched, commit })
      return
    }
    const repoPath = repositories.path(hosted.id)
    if (!(await hasCommit(hosted, commit))) {
      const why = `${hosted.name} has no commit ${commit} in any branch or tag`
      throw refused(path, why, `push it to ${urlOf(hosted)} first`)
    }
    plan.submodules.push({ path, url: urlOf(hosted), commit, app: hosted.name })
    plan.hosted.push({ appId: hosted.id, repoPath, commit, path })
    const inner = { app: hosted, commit, prefix: `${path}/`, depth: place.depth + 1 }
    await walk(inner, plan, signal)
  }

  /** undefined: it is somewhere else. */
  async function findHosted(url: string, from: Place['app']): Promise<App | undefined> {
    const isRelative = /^\.\.?(\/|$)/.test(url)
    const whole = isRelative ? new URL(url, `${urlOf(from)}/`).href : url
    const name = hostedName(whole, publicUrl())
    if (!name) return undefined
    const tenant = name.tenant ?? from.tenant
    const app = tenant === from.tenant ? await findApp(tenant, name.name) : undefined
    if (app && (await repositories.exists(app.id))) return app
    throw new AppError('not_found', `there is no app ${name.name} of ${from.tenant} here`)
  }

  async function hasCommit({ id }: App, commit: string): Promise<boolean> {
    const args = ['-C', repositories.path(id), 'cat-file', '-t', commit]
    const type = await git.run(args).catch(() => '')
    return type === 'commit' && repositories.holds(id, commit)
  }

  async function readAddresses({ app, commit, prefix }: Place, repoPath: string) {
    if (!(await repositories.hasFile(app.id, commit, '.gitmodules')))
      return new Map<string, string>()
    return addressesOf(git, repoPath, commit).catch((error) => {
      const why = asError(error).message.split('\n').at(-1)
      throw new AppError('invalid_source', `${prefix}.gitmodules can't be read: ${why}`)
    })
  }

  return {
    /** Throws AppError `invalid_source`, naming path and address. */
    async plan(app: App, commit: string): Promise<SubmodulePlan> {
      const plan: SubmodulePlan = { submodules: [], hosted: [], isIgnoring: false }
      if (effectiveSettings(app.settings).submodules === 'ignore') {
        return { ...plan, isIgnoring: true }
      }
      const signal = AbortSignal.timeout(ARCHIVE_DEADLINE_MS)
      await walk({ app, commit, prefix: '', depth: 0 }, plan, signal)
      return plan
    },
  }
}

interface Taking {
  url: string
  place: Place
  plan: SubmodulePlan
  signal: AbortSignal
}

/** Throws AppError `invalid_source` when the policy of the build lets one of them not be fetched. */
export async function requireSubmodulesReachable(
  submodules: readonly Submodule[],
  policy: BuildPolicy | undefined,
): Promise<void> {
  for (const { path, url, app } of submodules) {
    if (app === undefined) {
      await sayingPath(path, url, async () => requireReachable(url, policy))
    }
  }
}

/** What is wrong with an address, as a fault of the submodule. */
async function sayingPath<T>(path: string, url: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    const why = error.message.replace(/^(?:field )?repo_url="(?:[^"\\]|\\.)*": /, '')
    throw refused(path, `${shown(url)}: ${why}`)
  }
}

function refused(path: string, why: string, hint?: string): AppError {
  const ignore = 'set submodules of the app to ignore, and its folder is empty'
  return new AppError('invalid_source', `submodule ${path}: ${why}`, {
    hint: hint === undefined ? ignore : `${hint}; or ${ignore}`,
  })
}
