// The last part of a build, on the server side: the worker has recorded the image; this writes the registry
// tags and the git tag and only then says `ready`. Every part may be repeated, so it is simply retried.

import { holding, publishLock } from '../db/advisory-lock.ts'
import type { Listener } from '../db/listen.ts'
import type { Db } from '../db/pool.ts'
import { AppError, asError } from '../errors.ts'
import { FINISH_REFUSALS_MAX, FINISH_RETRY_MAX_MS, FINISH_RETRY_MS } from '../limits.ts'
import { UnexpectedReply } from '../registry/exchange.ts'
import type { Publication } from '../registry/publish.ts'
import { createRounds } from '../rounds.ts'
import type { Log } from '../telemetry/log.ts'
import { branchImageOf, giveUpBranch, moveBranch, unpublished } from './branch-image.ts'
import { type ImageName, parseImageName, requireNotOfApp } from './image-name.ts'
import { between } from './phases.ts'
import { type BuildRow, toBuild } from './store.ts'
import { completedNow, transition, transitionIn } from './transitions.ts'

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
  retryMs?: number
}

interface Waiting {
  tries: number
  /** In a row, up to now. */
  refusals: number
  /** Of the monotonic clock. */
  until: number
}

class PublishError extends Error {
  override name = 'PublishError'

  constructor(name: string, cause: Error) {
    super(`the image could not be published as ${name}: ${cause.message}`, { cause })
  }
}

export type Finish = ReturnType<typeof createFinish>

export function createFinish(options: FinishOptions) {
  const { db, listener, log, tagImage, publishImage, tagCommit } = options
  const retryMs = options.retryMs ?? FINISH_RETRY_MS
  let off = () => {}
  const waiting = new Map<string, Waiting>()

  async function finishOne(build: BuildRow): Promise<void> {
    await tagImage(`builds/${build.id}`, build.imageDigest!, 'latest')
    const attestations = build.provenance?.attestations_digest
    if (attestations) await tagImage(`builds/${build.id}`, attestations, 'attested')
    const branch = branchImageOf(build)
    await publish(build, branch)
    await tagCommit(build)
    const isNewest = branch && (await publishBranch(build, branch))
    await transition(db, {
      id: build.id,
      from: ['pushing'],
      to: 'ready',
      only: 'result_at is not null',
      set: {
        completed_at: completedNow(db),
        published_as: isNewest ? nameOf(branch) : null,
      },
    })
    log.info({ buildId: build.id, digest: build.imageDigest }, 'build ready')
  }

  /** Under the name that was asked for, and to where its branch's images are, there without a name yet. */
  async function publish(build: BuildRow, branch?: ImageName): Promise<void> {
    const { image_name: asked } = build.request
    const image = { from: `builds/${build.id}`, digest: build.imageDigest! }
    let name = asked
    try {
      if (asked !== undefined) {
        const { repository: to, tag } = parseImageName(asked, build.tenant)
        // Looked at again: the app may have come since the build was queued.
        await requireNotOfApp(db, { repository: to, tag }, build.tenant)
        await publishAs({ ...image, to, tag })
      }
      name = branch?.repository
      if (branch) await publishAs({ ...image, to: branch.repository })
    } catch (error) {
      throw new PublishError(String(name), asError(error))
    }
  }

  /** Retention does not take away what is published in this moment. */
  async function publishAs(image: Publication): Promise<void> {
    await holding(db, publishLock(image.to), () => publishImage(image))
  }

  /** The image is there already, so nothing but the registry's absence keeps the tag from moving. */
  async function publishBranch(build: BuildRow, branch: ImageName): Promise<boolean> {
    const { repository, tag } = branch
    const isNewest = await holding(db, publishLock(repository), () =>
      moveBranch(db, build, () => tagImage(repository, build.imageDigest!, tag)),
    )
    if (!isNewest) log.info({ buildId: build.id, repository, tag }, 'a newer push is published')
    return isNewest
  }

  /** What a newer build stood before that failed in the end. */
  async function publishLate(build: BuildRow): Promise<void> {
    const branch = branchImageOf(build)
    if (!branch || !(await publishBranch(build, branch))) return
    const ready = { id: build.id, status: 'ready' }
    await db('builds')
      .where(ready)
      .update({ published_as: nameOf(branch) })
    log.info({ buildId: build.id, publishedAs: nameOf(branch) }, 'published after all')
  }

  /** Who asked for an image under a name is not helped by one that is ready without it. */
  async function fail(build: BuildRow, { message: error }: Error): Promise<void> {
    await db.transaction(async (trx) => {
      const ended = await transitionIn(trx, {
        id: build.id,
        from: ['pushing'],
        to: 'failed',
        only: 'result_at is not null',
        set: { completed_at: completedNow(trx), failure_class: 'registry', error },
      })
      if (ended) await giveUpBranch(trx, build)
    })
    log.warn({ buildId: build.id, error }, 'build failed at its end')
  }

  /** What can never be is given up at once, what the registry refuses after some tries, the rest never. */
  async function failed(build: BuildRow, error: Error): Promise<void> {
    const isRefusedForGood = refusalsWith(build, error) >= FINISH_REFUSALS_MAX
    if (!isImpossible(error) && !isRefusedForGood) return tryLater(build, error)
    await fail(build, error)
    waiting.delete(build.id)
  }

  function refusalsWith({ id }: BuildRow, error: Error): number {
    return isRefused(error) ? (waiting.get(id)?.refusals ?? 0) + 1 : 0
  }

  function tryLater(build: BuildRow, error: Error): void {
    const { tries = 0 } = waiting.get(build.id) ?? {}
    const delayMs = Math.min(retryMs * 2 ** tries, FINISH_RETRY_MAX_MS)
    const until = performance.now() + delayMs
    waiting.set(build.id, { tries: tries + 1, refusals: refusalsWith(build, error), until })
    log.error({ err: error.message, buildId: build.id, delayMs }, 'finish failed; will retry')
  }

  async function finishAll(): Promise<void> {
    const found = await db('builds')
      .where({ status: 'pushing' })
      .whereNotNull('result_at')
      // A gated build waits for its branch: ready means that the branch has the commit.
      .whereRaw(`gate is distinct from 'closed'`)
      .orderBy('result_at')
    const late = await unpublished(db)
    const ids = new Set([...found, ...late].map(({ id }) => id))
    for (const id of waiting.keys()) if (!ids.has(id)) waiting.delete(id)
    const isDue = ({ id }: BuildRow) => (waiting.get(id)?.until ?? 0) <= performance.now()
    for (const build of found.map(toBuild).filter(isDue)) {
      await finishOne(build)
        .catch((error) => failed(build, asError(error)))
        .catch((error) => log.error({ err: asError(error).message }, 'finish failed; will retry'))
    }
    for (const build of late.filter(isDue)) {
      await publishLate(build).catch((error) => tryLater(build, asError(error)))
    }
  }

  const rounds = createRounds({
    work: finishAll,
    intervalMs: retryMs,
    onError: ({ message }) => log.error({ err: message }, 'finish failed; will retry'),
  })

  return {
    start(): void {
      off = listener.on('hypeman_result', rounds.poke)
      void rounds.start()
    },
    async stop(): Promise<void> {
      off()
      await rounds.stop()
    },
  }
}

const nameOf = ({ repository, tag }: ImageName) => `${repository}:${tag}`

const causeOf = (error: Error) => (error instanceof PublishError ? error.cause : error)

function isRefused(error: Error): boolean {
  const cause = causeOf(error)
  return cause instanceof UnexpectedReply && cause.isRefusal
}

function isImpossible(error: Error): boolean {
  const cause = causeOf(error)
  return cause instanceof AppError && cause.status < 500
}

/** Message of the annotated tag `builds/<id>`. */
export function tagMessage(build: BuildRow, registryName: string): string {
  const ms = between(build.startedAt ?? build.createdAt, build.resultAt) ?? 0
  return [
    `build ${build.id}`,
    '',
    `image: ${registryName}/builds/${build.id}`,
    `digest: ${build.imageDigest}`,
    `duration: ${(ms / 1000).toFixed(1)} s`,
    '',
  ].join('\n')
}
