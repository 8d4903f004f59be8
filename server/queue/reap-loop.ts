// Reaps again and again, but only what it can trust: after the database was away, its clock was set, or this process
// was asleep, living workers get the time to renew their leases first.
import { type Db, rows } from '../db/pool.ts'
import { CLOCK_JUMP_MS, REAPER_GRACE_MS, REAPER_INTERVAL_MS } from '../limits.ts'
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
  /** Of the database's clock, before this process's own that only ever goes forward. */
  let lastAhead: number | undefined

  async function look(): Promise<void> {
    const wasAsleep = performance.now() - due > intervalMs
    try {
      const asked = performance.now()
      const [row] = await rows<{ clock: Date }>(db, 'select clock_timestamp() as clock')
      const now = performance.now()
      const wasSet = isClockSet(row!.clock, now)
      if (wasAsleep || wasSet || now - asked > intervalMs) notBefore = now + graceMs
      else if (now >= notBefore) await reap({ db, log, asOf: row!.clock })
    } catch (error) {
      notBefore = performance.now() + graceMs
      throw error
    } finally {
      due = performance.now() + intervalMs
    }
  }

  function isClockSet(clock: Date, now: number): boolean {
    const ahead = clock.getTime() - now
    const jumpMs = Math.round(ahead - (lastAhead ?? ahead))
    lastAhead = ahead
    if (Math.abs(jumpMs) < CLOCK_JUMP_MS) return false
    log.warn({ jumpMs }, 'the clock of the database was set; leases get time to be renewed')
    return true
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
