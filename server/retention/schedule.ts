// The retention by itself: a while after the start, then every hour, and soon after an app was removed.
import type { Listener } from '../db/listen.ts'
import { AppError } from '../errors.ts'
import { RETENTION_FIRST_DELAY_MS, RETENTION_INTERVAL_MS } from '../limits.ts'
import { createRounds } from '../rounds.ts'
import type { Log } from '../telemetry/log.ts'
import type { Retention } from './retention.ts'

export interface ScheduleOptions {
  retention: Pick<Retention, 'run' | 'stop'>
  listener: Listener
  log: Log
  firstDelayMs?: number
  intervalMs?: number
}

export function createRetentionSchedule({
  retention,
  listener,
  log,
  firstDelayMs = RETENTION_FIRST_DELAY_MS,
  intervalMs = RETENTION_INTERVAL_MS,
}: ScheduleOptions) {
  let off = () => {}

  const rounds = createRounds({
    work: retention.run,
    intervalMs,
    onError(error) {
      // Another process is at it: it sees what this one would see.
      if (error instanceof AppError && error.code === 'conflict') return
      log.error({ err: error.message }, 'retention failed; will retry')
    },
  })

  return {
    start(): void {
      // A notification that says nothing comes after each reconnect as well.
      off = listener.on('hypeman_retention', (what) => what !== '' && rounds.poke())
      void rounds.start(firstDelayMs)
    },
    async stop(): Promise<void> {
      off()
      await Promise.all([rounds.stop(), retention.stop()])
    },
  }
}
