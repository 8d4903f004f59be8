// When repositories were pulled from and pushed to, for retention: images, caches and mirrors only, and each at most
// once in a while. Nobody waits for it, and nobody fails because of it.
import type { Db } from '../db/pool.ts'
import { asError } from '../errors.ts'
import { REPOSITORY_USE_INTERVAL_MS, REPOSITORY_USE_REMEMBERED_MAX } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'

const AREAS = /^(builds|cache|mirror)\//

export interface RepositoryUseOptions {
  db: Db
  log: Log
  intervalMs?: number
}

export type RepositoryUse = ReturnType<typeof createRepositoryUse>

export function createRepositoryUse({
  db,
  log,
  intervalMs = REPOSITORY_USE_INTERVAL_MS,
}: RepositoryUseOptions) {
  /** When a use was written down last; the oldest is forgotten first. */
  const written = new Map<string, number>()
  const writing = new Set<Promise<void>>()

  function note(repo: string, column: 'pulled_at' | 'pushed_at'): void {
    if (!AREAS.test(repo)) return
    const key = `${column} ${repo}`
    const now = performance.now()
    const last = written.get(key)
    if (last !== undefined && now - last < intervalMs) return
    written.delete(key)
    written.set(key, now)
    if (written.size > REPOSITORY_USE_REMEMBERED_MAX) written.delete(written.keys().next().value!)
    const write = record(repo, column).catch((error) => {
      written.delete(key)
      log.warn({ err: asError(error).message, repo }, 'use of a repository not written down')
    })
    writing.add(write)
    void write.finally(() => writing.delete(write))
  }

  /** What is used again is not to go. */
  async function record(repo: string, column: 'pulled_at' | 'pushed_at'): Promise<void> {
    await db('repository_use')
      .insert({ repo, [column]: db.raw('clock_timestamp()') })
      .onConflict('repo')
      .merge({ [column]: db.raw('clock_timestamp()'), doomed_at: null })
  }

  return {
    pulled: (repo: string) => note(repo, 'pulled_at'),
    pushed: (repo: string) => note(repo, 'pushed_at'),
    /** Since when retention has taken the image of `builds/<id>` away. */
    async goneSince(repo: string): Promise<Date | undefined> {
      const [area, id = '', ...rest] = repo.split('/')
      if (area !== 'builds' || rest.length > 0) return undefined
      const row = await db('builds').where({ id }).first('image_expired_at')
      return row?.image_expired_at ?? undefined
    },

    /** Resolves when all is written. */
    async settled(): Promise<void> {
      while (writing.size > 0) await Promise.all(writing)
    },
  }
}
