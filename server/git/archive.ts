// A commit as a source archive, with its hosted submodules at their paths: `git archive` as the git user, checked
// while it is staged for the store. The host never extracts it. On any failure nothing is left.
import { AppError, DOCKERFILE_REQUIRED } from '../errors.ts'
import { joinSignals } from '../join-signals.ts'
import { contentOf } from '../lfs/content.ts'
import { createSmudge } from '../lfs/smudge.ts'
import type { LfsStore } from '../lfs/store.ts'
import { ARCHIVE_DEADLINE_MS } from '../limits.ts'
import type { Objects, StagedObject } from '../objects/objects.ts'
import { type ArchiveLimits, createArchiveCheck } from '../sources/archive-check.ts'
import type { GitUser } from './git-user.ts'
import type { HostedSubmodule, SubmodulePlan } from './submodules.ts'

const ADVICE =
  'keep large files out of the repository, or mark them export-ignore in .gitattributes'

export interface ArchiveOptions {
  git: GitUser
  objects: Objects
  lfs: LfsStore
  /** Whose commit it is. */
  appId: string
  repoPath: string
  commit: string
  plan: Pick<SubmodulePlan, 'hosted' | 'isIgnoring'>
  /** Must be in the archive, when given. */
  dockerfile: string | undefined
  limits?: ArchiveLimits | undefined
}

export interface Archive {
  source: StagedObject
  /** Sentences for the person who pushed. */
  warnings: string[]
}

/** Throws AppError `source_too_large`, `invalid_source` or `dockerfile_required`. */
export async function archiveCommit(options: ArchiveOptions): Promise<Archive> {
  const { objects, appId, repoPath, commit, plan, dockerfile, limits } = options
  const warnsOfSubmodules = plan.isIgnoring
  const check = createArchiveCheck({ limits, advice: ADVICE, maker: 'git', warnsOfSubmodules })
  const parts = [{ appId, repoPath, commit, path: '' }, ...plan.hosted]

  async function* all(): AsyncGenerator<Buffer> {
    for (const [i, part] of parts.entries()) {
      yield* archiveOf(part, options, i === parts.length - 1)
    }
  }

  // Whatever is wrong is thrown before the last byte is taken, so that the store keeps nothing.
  async function* complete(): AsyncGenerator<Buffer> {
    yield* check.pass(all())
    if (dockerfile !== undefined && !check.facts().hasFile(dockerfile)) throw leftOut(dockerfile)
  }

  const source = await objects.stage(complete())
  return { source, warnings: check.facts().warnings }
}

/** `isLast`: with the end of the archive. */
async function* archiveOf(
  { appId, repoPath, commit, path }: HostedSubmodule,
  { git, lfs }: Pick<ArchiveOptions, 'git' | 'lfs'>,
  isLast: boolean,
): AsyncGenerator<Buffer> {
  const abort = new AbortController()
  const ending = joinSignals([abort.signal], ARCHIVE_DEADLINE_MS)
  const smudge = createSmudge(contentOf(lfs, { appId, path }, ending.signal))
  const prefix = path === '' ? [] : [`--prefix=${path}/`]
  const args = ['-C', repoPath, ...smudge.gitArgs, 'archive', '--format=tar', ...prefix, commit]
  const { stdout, done } = git.stream(args, ending.signal)
  try {
    yield* smudge.pass(stdout, isLast)
    const { exitCode, stderr } = await done
    if (exitCode !== 0) throw new Error(`git archive ended with ${exitCode}: ${stderr}`)
  } finally {
    abort.abort()
    stdout.destroy()
    await done
    ending.dispose()
  }
}

function leftOut(dockerfile: string): AppError {
  return new AppError('dockerfile_required', DOCKERFILE_REQUIRED, {
    hint: `.gitattributes marks ${dockerfile} export-ignore, so the build would not see it`,
    details: [
      {
        code: 'dockerfile_required',
        message: `the commit has no ${dockerfile}, or .gitattributes marks it export-ignore`,
      },
    ],
  })
}
