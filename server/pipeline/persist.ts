// A write of a build's state, repeated while the database is away, as long as the lease may still be ours.
import { setTimeout as sleep } from 'node:timers/promises'
import { asError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import type { Watchdog } from './watchdog.ts'

const WRITE_RETRY_MS = 1_000

export async function persist(
  { buildId, watchdog, log }: { buildId: string; watchdog: Watchdog; log: Log },
  write: () => Promise<void>,
): Promise<void> {
  for (;;) {
    try {
      return await write()
    } catch (error) {
      log.warn({ err: asError(error).message, buildId }, 'build state not written; will retry')
      if (watchdog.reason === 'lease_lost' || watchdog.reason === 'drain') return
      await sleep(WRITE_RETRY_MS)
    }
  }
}
