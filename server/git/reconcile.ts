// git moves a branch before the server hears of it, so a crash in between would lose a build: every deploy
// branch whose tip is not the latest recorded push is queued, at start and every minute.
import { BRANCHES } from '../apps/branch-name.ts'
import { type App, effectiveSettings } from '../apps/schema.ts'
import type { Apps } from '../apps/service.ts'
import type { Db } from '../db/pool.ts'
import { AppError, asError } from '../errors.ts'
import { RECONCILE_INTERVAL_MS } from '../limits.ts'
import { createRounds } from '../rounds.ts'
import type { Log } from '../telemetry/log.ts'
import type { Gates } from './gates.ts'
import type { Intake } from './intake.ts'
import type { LivePushes } from './live.ts'
import { ZERO_OID } from './pkt-line.ts'
import { latestPush } from './push-store.ts'
import type { Repositories } from './repositories.ts'

export interface ReconcilerOptions {
  db: Db
  apps: Pick<Apps, 'all'>
  repositories: Repositories
  intake: Intake
  gates: Pick<Gates, 'settleApp'>
  live: LivePushes
  log: Log
}

export type Reconciler = ReturnType<typeof createReconciler>

export function createReconciler(options: ReconcilerOptions) {
  const { db, apps, repositories, intake, gates, live, log } = options

  /** Returns how many builds it queued. One repository that can't be read does not keep the others back. */
  async function reconcile(): Promise<number> {
    let queued = 0
    for (const app of await apps.all()) {
      await guard({ app }, async () => {
        // A gated build whose push died knows nothing of a branch that moved all the same: it comes first.
        await gates.settleApp(app, () => live.hasApp(app.id))
      })
      for (const ref of await builtRefs(app)) {
        await guard({ app, ref }, async () => {
          if (await recoverBranch(app, ref)) queued += 1
        })
      }
    }
    return queued
  }

  async function builtRefs(app: App): Promise<string[]> {
    const { deployBranches, branchPolicy } = effectiveSettings(app.settings)
    if (branchPolicy !== 'build') return deployBranches.map((branch) => `${BRANCHES}${branch}`)
    let refs: string[] = []
    await guard({ app }, async () => {
      refs = await repositories.branches(app.id)
    })
    return refs
  }

  async function guard({ app, ref }: { app: App; ref?: string }, work: () => Promise<void>) {
    try {
      await work()
    } catch (error) {
      const facts = { app: app.name, tenant: app.tenant, ref, err: asError(error).message }
      if (error instanceof AppError) log.warn(facts, outcomeOf(error))
      else log.error(facts, 'could not reconcile; will retry')
    }
  }

  async function recoverBranch(app: App, ref: string): Promise<boolean> {
    // A push under way may have moved its branch and not be recorded yet; its own hook does that.
    if (live.hasApp(app.id) || intake.isBusy(app.id)) return false
    const latest = await latestPush(db, app.id, ref)
    const tip = await repositories.tip(app.id, ref)
    if (tip === undefined || tip === latest?.newSha || live.hasApp(app.id)) return false
    const update = { oldSha: latest?.newSha ?? ZERO_OID, newSha: tip, ref }
    const buildId = await intake.recover({ app, update, latestPushId: latest?.id })
    if (buildId === undefined) return false
    log.warn({ app: app.name, ref, tip, buildId }, 'queued a build for a lost push')
    return true
  }

  const rounds = createRounds({
    work: reconcile,
    intervalMs: RECONCILE_INTERVAL_MS,
    onError: ({ message }) => log.error({ err: message }, 'reconciler failed; will retry'),
  })

  return {
    reconcile,
    /** Resolves after the first round. */
    async start(): Promise<void> {
      const swept = live.count === 0 ? await repositories.sweep() : 0
      if (swept > 0) log.warn({ swept }, 'removed what dead pushes had left')
      await rounds.start()
    },
    stop: rounds.stop,
  }
}

function outcomeOf({ code }: AppError): string {
  if (code === 'queue_full') return 'a lost push waits for room in the queue'
  return 'a lost push cannot be built'
}
