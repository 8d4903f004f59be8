// Which objects of Git LFS a repository names: by pointers in anything that its refs reach, old commits as well.
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { joinSignals } from '../join-signals.ts'
import { POINTER_BYTES_MAX } from '../lfs/pointer.ts'
import { ARCHIVE_DEADLINE_MS } from '../limits.ts'
import type { GitUser } from './git-user.ts'
import type { LivePushes } from './live.ts'
import type { Repositories } from './repositories.ts'

/** Read at once: with 1 KiB each they stay far below what one command of git may print. */
const BLOBS_AT_ONCE = 1_000
/** Also of pointers with extensions, and of older versions. */
const OID_LINE = /^oid sha256:([0-9a-f]{64})\r?$/gm

export interface LfsNames {
  oids: string[]
  /** Whether no ref has moved since, and none is about to. */
  isStill(): Promise<boolean>
}

/** undefined: it can't be said, because the repository is elsewhere or a push to it is under way. */
export type FindLfsNames = (appId: string, signal: AbortSignal) => Promise<LfsNames | undefined>

export interface LfsNamesOptions {
  git: Pick<GitUser, 'run' | 'stream'>
  repositories: Pick<Repositories, 'path' | 'exists'>
  live: Pick<LivePushes, 'hasApp'>
}

export function createLfsNames({ git, repositories, live }: LfsNamesOptions): FindLfsNames {
  return async (appId, signal) => {
    if (!(await repositories.exists(appId)) || live.hasApp(appId)) return undefined
    const gitdir = repositories.path(appId)
    const refs = () => git.run(['-C', gitdir, 'for-each-ref', '--format=%(objectname) %(refname)'])
    const before = await refs()
    const oids = await namedIn(git, gitdir, signal)
    return { oids, isStill: async () => !live.hasApp(appId) && (await refs()) === before }
  }
}

async function namedIn(
  git: LfsNamesOptions['git'],
  gitdir: string,
  signal: AbortSignal,
): Promise<string[]> {
  const named = new Set<string>()
  const read = async (blobs: string[]) => {
    if (blobs.length === 0) return
    const input = `${blobs.join('\n')}\n`
    const texts = await git.run(['-C', gitdir, 'cat-file', '--batch'], { input })
    for (const [, oid = ''] of texts.matchAll(OID_LINE)) named.add(oid)
  }
  let some: string[] = []
  for await (const blob of smallBlobs(git, gitdir, signal)) {
    if (some.push(blob) < BLOBS_AT_ONCE) continue
    await read(some)
    some = []
  }
  await read(some)
  return [...named]
}

async function* smallBlobs(
  git: LfsNamesOptions['git'],
  gitdir: string,
  stop: AbortSignal,
): AsyncGenerator<string> {
  const abort = new AbortController()
  const ending = joinSignals([stop, abort.signal], ARCHIVE_DEADLINE_MS)
  const filter = `combine:blob:limit=${POINTER_BYTES_MAX + 1}+object:type=blob`
  const { stdout, done } = git.stream(
    [
      ...['-C', gitdir, 'rev-list', '--all', '--objects', '--no-object-names'],
      ...[`--filter=${filter}`, '--filter-provided-objects'],
    ],
    ending.signal,
  )
  try {
    yield* linesOf(stdout)
    const { exitCode, stderr } = await done
    if (exitCode !== 0) throw new Error(`git rev-list ended with ${exitCode}: ${stderr}`)
  } finally {
    abort.abort()
    stdout.destroy()
    await done
    ending.dispose()
  }
}

async function* linesOf(stream: Readable): AsyncGenerator<string> {
  for await (const line of createInterface({ input: stream })) if (line !== '') yield line
}
