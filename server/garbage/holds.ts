// Holds the writes to the registry for moments, again and again, and counts for how long.
import { setTimeout as sleep } from 'node:timers/promises'
import { GARBAGE_HOLD_PAUSE_MS, GARBAGE_HOLDS_MAX } from '../limits.ts'
import { GateBusy, type WriteGate } from '../registry/own/write-gate.ts'

export type Holds = ReturnType<typeof createHolds>

export function createHolds(gate: WriteGate, signal: AbortSignal) {
  const stall = { stallMs: 0, stallMaxMs: 0 }
  return {
    /** Runs it while no write is under way. Throws GateBusy when that can't be had. */
    async hold<T>(work: () => Promise<T>): Promise<T> {
      for (let n = 1; ; n += 1) {
        signal.throwIfAborted()
        const began = performance.now()
        try {
          return await gate.hold(work)
        } catch (error) {
          if (!(error instanceof GateBusy) || n >= GARBAGE_HOLDS_MAX) throw error
        } finally {
          const ms = performance.now() - began
          stall.stallMs += ms
          stall.stallMaxMs = Math.max(stall.stallMaxMs, ms)
        }
        await sleep(GARBAGE_HOLD_PAUSE_MS, undefined, { signal })
      }
    },
    /** All in all, and the longest. */
    stall: () => ({ ...stall }),
  }
}
