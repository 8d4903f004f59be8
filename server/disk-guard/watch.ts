// Looks at the server's disk now and then, also while nobody asks: little room starts a garbage collection.
import { asError } from '../errors.ts'
import { DISK_LOOK_INTERVAL_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import type { DiskGuard } from './guard.ts'

export function watchDisk(guard: Pick<DiskGuard, 'look'>, log: Log, ms = DISK_LOOK_INTERVAL_MS) {
  const timer = setInterval(() => {
    guard.look().catch((error) => log.error({ err: asError(error).message }, 'disk not readable'))
  }, ms)
  return { stop: () => clearInterval(timer) }
}
