// Looks at the server's disk now and then, also while nobody asks: little room starts a garbage collection.
import { DISK_LOOK_INTERVAL_MS } from '../limits.ts'
import { createRounds } from '../rounds.ts'
import type { Log } from '../telemetry/log.ts'
import type { DiskGuard } from './guard.ts'

export function watchDisk(guard: Pick<DiskGuard, 'look'>, log: Log) {
  const rounds = createRounds({
    work: guard.look,
    intervalMs: DISK_LOOK_INTERVAL_MS,
    onError: ({ message }) => log.error({ err: message }, 'disk not readable'),
  })
  void rounds.start(DISK_LOOK_INTERVAL_MS)
  return { stop: rounds.stop }
}
