// Reaps again and again, but only what it can trust: after the database was away, or this process was asleep,
// living workers get the time to renew their leases first.
import type { Db } from '../db/pool.ts'
import { REAPER_GRACE_MS, REAPER_INTERVAL_MS } from '../limits.ts'
import { createRounds } from '../rounds.ts'
import type { Log } from '../telemetry/log.ts'
import { reap } from './reaper.ts'

export interface ReapLoopOptions {
  db: Db
  log: Log
  intervalMs?: number
  graceMs?: number
}

export function createReapLoop(options: ReapLoopOptions) {
  const { db, log, intervalMs = REAPER_INTERVAL_MS, graceMs = REAPER_GRACE_MS } = options
  let due = 0
  let notBefore = 0

  async function look(): Promise<void> {
    const wasAsleep = performance.now() - due > intervalMs
    try {
      const asked = performance.now()
      await db.raw('select 1')
      const now = performance.now()
      if (wasAsleep || now - asked > intervalMs) notBefore = now + graceMs
      else if (now >= notBefore) await reap({ db, log })
    } catch (error) {
      notBefore = performance.now() + graceMs
      throw error
    } finally {
      due = performance.now() + intervalMs
    }
  }

  const rounds = createRounds({
    work: look,
    intervalMs,
    onError: ({ message }) => log.error({ err: message }, 'reaper failed; will retry'),
  })

  return {
    start(): void {
      due = performance.now()
      void rounds.start()
    },
    stop: rounds.stop,
  }
}
