// Reaps again and again, but only what it can trust: after the database was away, or this process was asleep,
// living workers get the time to renew their leases first.
import type { Db } from '../db/pool.ts'
import { asError } from '../errors.ts'
import { REAPER_GRACE_MS, REAPER_INTERVAL_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import { reap } from './reaper.ts'

export interface ReapLoopOptions {
  db: Db
  log: Log
  intervalMs?: number
  graceMs?: number
}

export type ReapLoop = ReturnType<typeof createReapLoop>

export function createReapLoop(options: ReapLoopOptions) {
  const { db, log, intervalMs = REAPER_INTERVAL_MS, graceMs = REAPER_GRACE_MS } = options
  let timer: NodeJS.Timeout | undefined
  let round: Promise<void> | undefined
  let isStopped = true
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
      log.error({ err: asError(error).message }, 'reaper failed; will retry')
    }
  }

  function run(): void {
    round = look().finally(() => {
      due = performance.now() + intervalMs
      if (!isStopped) timer = setTimeout(run, intervalMs)
    })
  }

  return {
    start(): void {
      isStopped = false
      due = performance.now()
      run()
    },
    async stop(): Promise<void> {
      isStopped = true
      clearTimeout(timer)
      await round
    },
  }
}
