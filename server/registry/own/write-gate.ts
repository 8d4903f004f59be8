// Those who write to the registry share this gate; the garbage collection has it alone, for moments. It also
// remembers what was linked while a collection goes on.
import { AppError } from '../../errors.ts'
import { inTime } from '../../in-time.ts'
import { REGISTRY_DRAIN_MS, REGISTRY_HOLD_RETRY_SECONDS, REGISTRY_WAIT_MS } from '../../limits.ts'

export interface WriteGateOptions {
  /** How long a writer waits at most. */
  waitMs?: number
  /** How long a hold waits at most for the writers that are inside. */
  drainMs?: number
}

export type WriteGate = ReturnType<typeof createWriteGate>

/** The writers inside take too long; nothing was held. */
export class GateBusy extends Error {
  override name = 'GateBusy'
}

export function createWriteGate(options: WriteGateOptions = {}) {
  const { waitMs = REGISTRY_WAIT_MS, drainMs = REGISTRY_DRAIN_MS } = options
  let inside = 0
  let onEmpty = () => {}
  let closed: Promise<void> | undefined
  let linked: Set<string> | undefined

  return {
    /**
     * Resolves with what ends the stay, once the registry has answered. Throws AppError
     * `registry_unavailable` when the gate stays closed for too long.
     */
    async enter(): Promise<() => void> {
      const deadline = performance.now() + waitMs
      while (closed) {
        if (await inTime(closed, deadline - performance.now())) continue
        const message = `the registry is being tidied and took no writes for ${waitMs / 1000} s; try again`
        throw new AppError('registry_unavailable', message, {
          retryAfterSeconds: REGISTRY_HOLD_RETRY_SECONDS,
        })
      }
      inside += 1
      let isOut = false
      return () => {
        if (isOut) return
        isOut = true
        inside -= 1
        if (inside === 0) onEmpty()
      }
    },

    /** Runs it while no writer is inside. One at a time. Throws GateBusy. */
    async hold<T>(work: () => Promise<T>): Promise<T> {
      if (closed) throw new TypeError('the gate is held already')
      let open = () => {}
      closed = new Promise((resolve) => {
        open = resolve
      })
      try {
        const empty = new Promise<void>((resolve) => {
          onEmpty = resolve
        })
        if (inside > 0 && !(await inTime(empty, drainMs))) {
          throw new GateBusy(`writes to the registry go on for more than ${drainMs / 1000} s`)
        }
        return await work()
      } finally {
        onEmpty = () => {}
        closed = undefined
        open()
      }
    },

    /** A writer has linked it, or may have. */
    noteLinked(digest: string): void {
      linked?.add(digest)
    },

    /** What is linked from now on, until `end()`. */
    watchLinks(): { has(digest: string): boolean; end(): void } {
      const seen = new Set<string>()
      linked = seen
      return {
        has: (digest) => seen.has(digest),
        end: () => {
          if (linked === seen) linked = undefined
        },
      }
    },
  }
}
