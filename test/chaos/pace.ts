// How fast a run goes, by what its builds run in: a guest may be emulated, and then boots as long as a sandbox builds.
import type { RunnerName } from '../helpers/pods.ts'

export interface Pace {
  /** Between two faults. */
  gapMs: { min: number; max: number }
  /** By which the pauses of clients are longer. */
  patience: number
  /** Slots of each worker. */
  perWorker: number
  /** A VM that saves its builder's disk takes no slot. */
  podsPerWorker: number
  /** Longer than everything that a push waits for. */
  pushDeadlineMs: number
  /** From the last fault to the end of the last build. */
  quietDeadlineMs: number
}

const MINUTE_MS = 60_000

export const PACES: Record<RunnerName, Pace> = {
  bubblewrap: {
    gapMs: { min: 3_000, max: 15_000 },
    patience: 1,
    perWorker: 2,
    podsPerWorker: 2,
    pushDeadlineMs: 10 * MINUTE_MS,
    quietDeadlineMs: 15 * MINUTE_MS,
  },
  qemu: {
    gapMs: { min: 10_000, max: 30_000 },
    patience: 10,
    perWorker: 1,
    podsPerWorker: 2,
    pushDeadlineMs: 20 * MINUTE_MS,
    quietDeadlineMs: 20 * MINUTE_MS,
  },
}
