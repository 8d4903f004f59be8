// Gated builds run before their branch moves, and wait with their result for it. Here is what becomes of one
// once it is known whether the branch has moved: opened it goes on to `ready`, else it ends as cancelled.
import { TERMINAL } from '../builds/schema.ts'
import { type BuildRow, type BuildStore, toBuild } from '../builds/store.ts'
import { endColumns, transition } from '../builds/transitions.ts'
import { lockApp } from '../db/lock-order.ts'
import { notify } from '../db/notices.ts'
import type { Db } from '../db/pool.ts'
import { asError } from '../errors.ts'
import type { Queue } from '../queue/queue.ts'
import { supersede } from '../queue/supersede.ts'
import type { Log } from '../telemetry/log.ts'
import { ZERO_OID } from './pkt-line.ts'
import { addPush } from './push-order.ts'
import { latestPush, type MovedRef } from './push-store.ts'
import type { Repositories } from './repositories.ts'

export interface GatesOptions {
  db: Db
  store: BuildStore
  queue: Queue
  repositories: Repositories
  log: Log
}

export type Gates = ReturnType<typeof createGates>

export function createGates({ db, store, queue, repositories, log }: GatesOptions) {
  /** The branch has moved: records the push, once. False when the build does not wait for it (any more). */
  async function open(buildId: string, moved: MovedRef): Promise<boolean> {
    return db.transaction(async (trx) => {
      await lockApp(trx, moved.app.id)
      const build = await trx('builds').where({ id: buildId }).forNoKeyUpdate().first()
      if (build?.gate !== 'closed') return build?.gate === 'open'
      if (build.status !== 'pushing' || build.result_at === null) return false
      const [row] = await trx('builds')
        .where({ id: buildId })
        .update({ gate: 'open', push_id: await addPush(trx, repositories, moved) })
        .returning('*')
      // Only now is it a newer push of its branch.
      await supersede(trx, toBuild(row), moved.app.settings.supersede ?? 'off')
      notify(trx, 'hypeman_result', buildId)
      return true
    })
  }

  /** The branch will not move: ends the build, now or when its pod is gone. */
  async function close(buildId: string, why: string): Promise<void> {
    const waiting = { id: buildId, gate: 'closed' }
    await db('builds')
      .where(waiting)
      .whereNotIn('status', [...TERMINAL])
      .update({ error: why })
    if ((await queue.cancel(buildId)) !== 'complete') return
    await transition(db, {
      id: buildId,
      from: ['pushing'],
      to: 'cancelled',
      only: `gate = 'closed' and result_at is not null`,
      set: endColumns(db),
    })
  }

  /** For a build whose push is over: the branch says whether it has moved. */
  async function settle(build: BuildRow, app: MovedRef['app'], source: MovedRef['source']) {
    if (build.gate !== 'closed' || TERMINAL.has(build.status)) return
    const { id, ref = '', commit = '', pusher } = build
    const latest = await latestPush(db, app.id, ref)
    const tip = await repositories.tip(app.id, ref)
    if (build.resultAt && tip === commit && latest?.newSha !== commit) {
      const update = { oldSha: latest?.newSha ?? ZERO_OID, newSha: commit, ref }
      if (await open(id, { app, update, pusher, source })) return
    }
    await close(id, `${ref} did not move: its push ended before the build did`)
    log.info({ buildId: id, app: app.name, ref }, 'gated build cancelled: its branch did not move')
  }

  return {
    open,
    close,

    /** Never rejects: the reconciler tries again. */
    async settleIds(ids: readonly string[], app: MovedRef['app']): Promise<void> {
      for (const id of ids) {
        try {
          const build = await store.get(id)
          if (build) await settle(build, app, 'push')
        } catch (error) {
          log.error({ err: asError(error).message, buildId: id }, 'gated build left; will retry')
        }
      }
    },

    /** Those of an app, unless a push of it is under way: its builds are its own. */
    async settleApp(app: MovedRef['app'], isPushed: () => boolean): Promise<void> {
      if (isPushed()) return
      const left = await db('builds')
        .where({ app_id: app.id, gate: 'closed' })
        .whereIn('status', ['queued', 'building', 'pushing'])
        .orderBy('created_at')
      // One that began in the meantime may have queued some of these.
      if (isPushed()) return
      for (const row of left) await settle(toBuild(row), app, 'reconcile')
    },
  }
}
