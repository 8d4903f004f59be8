// Everything that may end a running build from outside, in one place: its timeout, a cancel, the loss of
// its lease, the drain of its worker. The first one wins and aborts the signal with its reason.
import type { Listener } from '../db/listen.ts'
import { HEARTBEAT_MS, LEASE_MS } from '../limits.ts'
import type { Lease } from '../queue/lease.ts'
import type { Log } from '../telemetry/log.ts'

export type StopReason = 'timeout' | 'cancel' | 'lease_lost' | 'drain'

export interface WatchdogOptions {
  lease: Lease
  listener: Listener
  log: Log
  timeoutMs: number
  drain: AbortSignal
}

export type Watchdog = ReturnType<typeof startWatchdog>

export function startWatchdog({ lease, listener, log, timeoutMs, drain }: WatchdogOptions) {
  const controller = new AbortController()
  let reason: StopReason | undefined
  let lastBeat = Date.now()
  let beating = false

  function stop(why: StopReason): void {
    if (reason !== undefined) return
    reason = why
    controller.abort(new Error(why))
  }

  async function beat(): Promise<void> {
    if (beating) return
    beating = true
    try {
      const sent = Date.now()
      const { held, cancelRequested } = await lease.heartbeat()
      lastBeat = sent
      if (!held) stop('lease_lost')
      else if (cancelRequested) stop('cancel')
    } catch (error) {
      log.warn({ err: (error as Error).message, buildId: lease.buildId }, 'heartbeat failed')
      // Nobody answers: past the lease another worker may have the build, so this one must not go on.
      if (Date.now() - lastBeat > LEASE_MS) stop('lease_lost')
    } finally {
      beating = false
    }
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
