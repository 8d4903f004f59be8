// The last part of a build, on the server side: the worker has recorded the image; this writes the git tag
// and the registry tag and only then says `ready`. Every part may be repeated, so it is simply retried.
import type { Listener } from '../db/listen.ts'
import type { Db } from '../db/pool.ts'
import { asError } from '../errors.ts'
import { FINISH_RETRY_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import { type BuildRow, toBuild } from './store.ts'
import { transition } from './transitions.ts'

export interface FinishOptions {
  db: Db
  listener: Listener
  log: Log
  /** Tags the digest in the registry. */
  tagImage(repository: string, digest: string, tag: string): Promise<void>
  /** Tags the commit `builds/<id>`; does nothing when the app is gone. */
  tagCommit(build: BuildRow): Promise<void>
}

export type Finish = ReturnType<typeof createFinish>

export function createFinish({ db, listener, log, tagImage, tagCommit }: FinishOptions) {
  let stopped = true
  let round: Promise<void> | undefined
  let again = false
  let timer: NodeJS.Timeout | undefined
  let off = () => {}

  async function finishOne(build: BuildRow): Promise<void> {
    await tagImage(`builds/${build.id}`, build.imageDigest!, 'latest')
    await tagCommit(build)
    await transition(db, {
      id: build.id,
      from: ['pushing'],
      to: 'ready',
      only: 'result_at is not null',
      set: { completed_at: db.raw('clock_timestamp()') },
    })
    log.info({ buildId: build.id, digest: build.imageDigest }, 'build ready')
  }

  async function finishAll(): Promise<void> {
    const found = await db('builds')
      .where({ status: 'pushing' })
      .whereNotNull('result_at')
      .orderBy('result_at')
    for (const row of found) {
      const build = toBuild(row)
      await finishOne(build).catch((error) =>
        log.error({ err: asError(error).message, buildId: build.id }, 'finish failed; will retry'),
      )
    }
  }

  function poke(): void {
    if (stopped) return
    if (round) {
      again = true
      return
    }
    again = false
    round = finishAll()
      .catch((error) => log.error({ err: asError(error).message }, 'finish failed; will retry'))
      .finally(() => {
        round = undefined
        clearTimeout(timer)
        if (again) poke()
        else if (!stopped) timer = setTimeout(poke, FINISH_RETRY_MS)
      })
  }

  return {
    start(): void {
      stopped = false
      off = listener.on('hypeman_result', poke)
      poke()
    },
    async stop(): Promise<void> {
      stopped = true
      off()
      clearTimeout(timer)
      await round
    },
  }
}

/** Message of the annotated tag `builds/<id>`. */
export function tagMessage(build: BuildRow, registryName: string): string {
  const seconds = ((Date.now() - (build.startedAt ?? build.createdAt).getTime()) / 1000).toFixed(1)
  return [
    `build ${build.id}`,
    '',
    `image: ${registryName}/builds/${build.id}`,
    `digest: ${build.imageDigest}`,
    `duration: ${seconds} s`,
    '',
  ].join('\n')
}
