// The retention by itself: a while after the start, then every hour, and soon after an app was removed.
import type { Listener } from '../db/listen.ts'
import { AppError, asError } from '../errors.ts'
import { RETENTION_FIRST_DELAY_MS, RETENTION_INTERVAL_MS } from '../limits.ts'
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
  let isStopped = false
  let timer: NodeJS.Timeout | undefined
  let round: Promise<void> | undefined
  let again = false
  let off = () => {}

  async function runOnce(): Promise<void> {
    try {
      await retention.run()
    } catch (error) {
      // Another process is at it: it sees what this one would see.
      if (error instanceof AppError && error.code === 'conflict') return
      log.error({ err: asError(error).message }, 'retention failed; will retry')
    }
  }

  function poke(): void {
    if (isStopped) return
    if (round) {
      again = true
      return
    }
    again = false
    clearTimeout(timer)
    round = runOnce().finally(() => {
      round = undefined
      if (again) poke()
      else wait(intervalMs)
    })
  }

  function wait(ms: number): void {
    if (!isStopped) timer = setTimeout(poke, ms)
  }

  return {
    start(): void {
      // A notification that says nothing comes after each reconnect as well.
      off = listener.on('hypeman_retention', (what) => what !== '' && poke())
      wait(firstDelayMs)
    },
    async stop(): Promise<void> {
      isStopped = true
      off()
      clearTimeout(timer)
      await retention.stop()
      await round
    },
  }
}
