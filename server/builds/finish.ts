// The last part of a build, on the server side: the worker has recorded the image; this writes the registry
// tags and the git tag and only then says `ready`. Every part may be repeated, so it is simply retried.
import type { Listener } from '../db/listen.ts'
import type { Db } from '../db/pool.ts'
import { AppError, asError } from '../errors.ts'
import { FINISH_RETRY_MS } from '../limits.ts'
import type { Publication } from '../registry/publish.ts'
import type { Log } from '../telemetry/log.ts'
import { parseImageName } from './image-name.ts'
import { type BuildRow, toBuild } from './store.ts'
import { transition } from './transitions.ts'

export interface FinishOptions {
  db: Db
  listener: Listener
  log: Log
  /** Tags the digest in the registry. */
  tagImage(repository: string, digest: string, tag: string): Promise<void>
  /** Puts the image under its second name, `apps/<tenant>/<name>:<tag>`. */
  publishImage(publication: Publication): Promise<void>
  /** Tags the commit `builds/<id>`; does nothing when the app is gone. */
  tagCommit(build: BuildRow): Promise<void>
}

export type Finish = ReturnType<typeof createFinish>

export function createFinish(options: FinishOptions) {
  const { db, listener, log, tagImage, publishImage, tagCommit } = options
  let stopped = true
  let round: Promise<void> | undefined
  let again = false
  let timer: NodeJS.Timeout | undefined
  let off = () => {}

  async function finishOne(build: BuildRow): Promise<void> {
    await tagImage(`builds/${build.id}`, build.imageDigest!, 'latest')
    const attestations = build.provenance?.attestations_digest
    if (attestations) await tagImage(`builds/${build.id}`, attestations, 'attested')
    const impossible = await publish(build)
    if (impossible) {
      await fail(build, impossible)
      return
    }
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

  /** Under the name that was asked for; why that will never be possible, or undefined. */
  async function publish(build: BuildRow): Promise<AppError | undefined> {
    const { image_name: name } = build.request
    if (name === undefined) return undefined
    try {
      const { repository: to, tag } = parseImageName(name, build.tenant)
      await publishImage({ from: `builds/${build.id}`, digest: build.imageDigest!, to, tag })
      return undefined
    } catch (error) {
      if (error instanceof AppError && error.status < 500) return error
      throw error
    }
  }

  async function fail(build: BuildRow, { message }: AppError): Promise<void> {
    const error = `the image could not be published as ${build.request.image_name}: ${message}`
    await transition(db, {
      id: build.id,
      from: ['pushing'],
      to: 'failed',
      only: 'result_at is not null',
      set: { completed_at: db.raw('clock_timestamp()'), failure_class: 'registry', error },
    })
    log.warn({ buildId: build.id, error }, 'build failed at its end')
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
