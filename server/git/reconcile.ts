// git moves a branch before the server hears of it, so a crash in between would lose a build: every move of a deploy
// branch that no recorded push has made is queued, at start and every minute. It shows by a tip that is not the latest
// recorded push, or by a push that did not begin where the one before it had ended.
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
import { closeGap, latestPush, type PushRow, pushesAfterGaps } from './push-store.ts'
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
      const refs = await builtRefs(app)
      await guard({ app }, async () => {
        for (const push of await pushesAfterGaps(db, app.id)) {
          await guard({ app, ref: push.ref }, async () => {
            queued += await fillGap(app, push, refs)
          })
        }
      })
      for (const ref of refs) {
        await guard({ app, ref }, async () => {
          queued += await recoverMoves(app, ref)
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

  /** Queues what came before a push and was not recorded. */
  async function fillGap(app: App, push: PushRow & { ref: string }, refs: readonly string[]) {
    const { ref, oldSha } = push
    // Only what is built is missed; and what was before a deletion is gone.
    const isMissed = refs.includes(ref) && oldSha !== ZERO_OID
    const queued = isMissed ? await recoverMoves(app, ref, push) : 0
    const latest = await latestPush(db, app.id, ref, push)
    if (!isMissed || latest?.newSha === oldSha) await closeGap(db, push)
    return queued
  }

  /** What came after the latest recorded push, or between two; returns how many builds it queued. */
  async function recoverMoves(app: App, ref: string, before?: PushRow): Promise<number> {
    for (let queued = 0; ; queued += 1) {
      // A push under way may have moved its branch and not be recorded yet; its own hook does that.
      if (live.hasApp(app.id) || intake.isBusy(app.id)) return queued
      const latest = await latestPush(db, app.id, ref, before)
      const to = before?.oldSha ?? (await repositories.tip(app.id, ref))
      if (to === undefined || to === latest?.newSha || live.hasApp(app.id)) return queued
      const lost = { oldSha: latest?.newSha ?? ZERO_OID, newSha: to, ref }
      const [update = lost] = await repositories.moves(app.id, lost)
      const buildId = await intake.recover({ app, update, before, latestPushId: latest?.id })
      if (buildId === undefined) return queued
      const { newSha: commit } = update
      log.warn({ app: app.name, ref, commit, buildId }, 'queued a build for a lost push')
    }
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
