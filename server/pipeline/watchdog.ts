// Everything that may end a running build from outside, in one place: its timeout, a cancel, the loss of
// its lease, the drain of its worker. The first one wins and aborts the signal with its reason.
import type { Listener } from '../db/listen.ts'
import { DATABASE_AWAY_MAX_MS, HEARTBEAT_MS } from '../limits.ts'
import type { Lease } from '../queue/lease.ts'
import type { Log } from '../telemetry/log.ts'

export type StopReason = 'timeout' | 'cancel' | 'lease_lost' | 'drain'

export interface WatchdogOptions {
  lease: Lease
  listener: Listener
  log: Log
  timeoutMs: number
  drain: AbortSignal
  /** How long it goes on without the database. */
  awayMaxMs?: number
}

export type Watchdog = ReturnType<typeof startWatchdog>

export function startWatchdog(options: WatchdogOptions) {
  const { lease, listener, log, timeoutMs, drain, awayMaxMs = DATABASE_AWAY_MAX_MS } = options
  const controller = new AbortController()
  let reason: StopReason | undefined
  let lastBeat = performance.now()
  let beating = false
  let again = false

  function stop(why: StopReason): void {
    if (reason !== undefined) return
    reason = why
    controller.abort(new Error(why))
  }

  async function beat(): Promise<void> {
    // What is asked for while an answer is on its way may be newer than the answer.
    again = beating
    if (beating) return
    beating = true
    try {
      const sent = performance.now()
      const { held, cancelRequested } = await lease.heartbeat()
      lastBeat = sent
      if (!held) stop('lease_lost')
      else if (cancelRequested) stop('cancel')
    } catch (error) {
      log.warn({ err: (error as Error).message, buildId: lease.buildId }, 'heartbeat failed')
      // Nobody answers. Past the lease another worker may have the build, but nothing can be written without it,
      // and a database that was only away renews it.
      if (performance.now() - lastBeat > awayMaxMs) stop('lease_lost')
    } finally {
      beating = false
    }
    if (again && reason === undefined) await beat()
  }

  const timeout = setTimeout(() => stop('timeout'), timeoutMs)
  const interval = setInterval(() => void beat(), HEARTBEAT_MS)
  const off = listener.on('hypeman_build', (id) => {
    if (id === `cancel:${lease.buildId}`) void beat()
  })
  const onDrain = () => stop('drain')
  drain.addEventListener('abort', onDrain, { once: true })
  if (drain.aborted) onDrain()

  return {
    signal: controller.signal,
    get reason(): StopReason | undefined {
      return reason
    },
    close(): void {
      clearTimeout(timeout)
      clearInterval(interval)
      off()
      drain.removeEventListener('abort', onDrain)
    },
  }
}
