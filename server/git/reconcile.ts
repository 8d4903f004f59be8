// git moves a branch before the server hears of it, so a crash in between would lose a build: every deploy
// branch whose tip is not the latest recorded push is queued, at start and every minute.
import { effectiveSettings } from '../apps/schema.ts'
import type { Apps } from '../apps/service.ts'
import type { Db } from '../db/pool.ts'
import { AppError, asError } from '../errors.ts'
import { RECONCILE_INTERVAL_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import type { Intake } from './intake.ts'
import type { LivePushes } from './live.ts'
import { ZERO_OID } from './pkt-line.ts'
import type { Repositories } from './repositories.ts'

export interface ReconcilerOptions {
  db: Db
  apps: Apps
  repositories: Repositories
  intake: Intake
  live: LivePushes
  log: Log
}

export type Reconciler = ReturnType<typeof createReconciler>

export function createReconciler(options: ReconcilerOptions) {
  const { db, apps, repositories, intake, live, log } = options
  let timer: NodeJS.Timeout | undefined
  let round: Promise<void> | undefined

  /** Returns how many builds it queued. */
  async function reconcile(): Promise<number> {
    let queued = 0
    for (const app of await apps.all()) {
      // A push under way may have moved its branch and not be recorded yet; its own hook will do that.
      if (live.hasApp(app.id) || !(await repositories.exists(app.id))) continue
      const branches = await repositories.branches(app.id)
      for (const branch of effectiveSettings(app.settings).deployBranches) {
        const ref = `refs/heads/${branch}`
        const tip = branches.get(ref)
        if (!tip) continue
        const latest = await db('pushes')
          .where({ app_id: app.id, ref })
          .orderBy('id', 'desc')
          .first('new_sha')
        if (latest?.new_sha === tip || live.hasApp(app.id)) continue
        const update = { oldSha: latest?.new_sha ?? ZERO_OID, newSha: tip, ref }
        try {
          const build = await intake.build({
            app,
            update,
            pusher: 'reconciler',
            source: 'reconcile',
          })
          log.warn({ app: app.name, ref, tip, buildId: build.id }, 'queued a build for a lost push')
          queued += 1
        } catch (error) {
          if (!(error instanceof AppError)) throw error
          log.warn({ app: app.name, ref, tip, err: error.message }, 'a lost push cannot be built')
        }
      }
    }
    return queued
  }

  async function loop(): Promise<void> {
    await reconcile().catch((error) =>
      log.error({ err: asError(error).message }, 'reconciler failed; will retry'),
    )
  }

  function schedule(): void {
    timer = setTimeout(() => {
      round = loop().finally(schedule)
    }, RECONCILE_INTERVAL_MS)
  }

  return {
    reconcile,
    async start(): Promise<void> {
      await loop()
      schedule()
    },
    async stop(): Promise<void> {
      clearTimeout(timer)
      await round
      clearTimeout(timer)
    },
  }
}
