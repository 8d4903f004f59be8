// The loop that claims builds and runs them. Notifications wake it, polling is the truth. Draining it claims
// nothing more; what runs may end, until it is handed back.
import { setMaxListeners } from 'node:events'
import type { Listener } from '../db/listen.ts'
import type { Db } from '../db/pool.ts'
import { asError } from '../errors.ts'
import { inTime } from '../in-time.ts'
import { QUEUE_POLL_MS } from '../limits.ts'
import { createRounds } from '../rounds.ts'
import type { Log } from '../telemetry/log.ts'
import { type ClaimedBuild, claimNext } from './claim.ts'
import { createReapLoop } from './reap-loop.ts'
import { reap } from './reaper.ts'

export interface WorkerOptions {
  db: Db
  listener: Listener
  log: Log
  /** Name of this worker, the same after a restart of the same installation. */
  name: string
  /** Builds it runs at once. */
  slots?: number
  /**
   * Runs one build to its end; must not reject for what the build does. The signal means: hand it back. `freed`
   * may be called before: what is still to be done takes none of this worker's slots. Of both at most twice the slots.
   */
  run(build: ClaimedBuild, drain: AbortSignal, freed: () => void): Promise<void>
  onClaim?: (build: ClaimedBuild) => void
  /** Asked before each claim; false: not now. */
  mayClaim?: () => Promise<boolean>
}

export type Worker = ReturnType<typeof createWorker>

export function createWorker(options: WorkerOptions) {
  const { db, listener, log, name, slots = Number.POSITIVE_INFINITY, run, onClaim } = options
  const { mayClaim: isAllowed = async () => true } = options
  const running = new Set<Promise<void>>()
  const reaper = createReapLoop({ db, log })
  let handBack = forMany()
  let taken = 0
  let isStopped = false
  let isDraining = false
  let drainTimer: NodeJS.Timeout | undefined
  let off = () => {}

  const hasRoom = () => taken < slots && running.size < 2 * slots
  const mayClaim = () => !isStopped && !isDraining && hasRoom()

  const claims = createRounds({
    work: claimAll,
    intervalMs: QUEUE_POLL_MS,
    onError: ({ message }) => log.error({ err: message }, 'claiming failed; will retry'),
  })

  /** Claims until nothing can be claimed. */
  async function claimAll(): Promise<void> {
    while (mayClaim() && (await isAllowed())) {
      const build = await claimNext(db, name)
      if (!build) return
      log.info({ buildId: build.id, attempt: build.attempt }, 'build claimed')
      onClaim?.(build)
      begin(build)
    }
  }

  function begin(build: ClaimedBuild): void {
    taken += 1
    let isFreed = false
    const freed = () => {
      if (isFreed) return
      isFreed = true
      taken -= 1
      claims.poke()
    }
    const work = run(build, handBack.signal, freed)
      .catch((error) => log.error({ err: asError(error), buildId: build.id }, 'build run broke'))
      .finally(() => {
        running.delete(work)
        freed()
        claims.poke()
      })
    running.add(work)
  }

  function handBackRunning(): void {
    const now = handBack
    handBack = forMany()
    now.abort()
  }

  return {
    async start(): Promise<void> {
      // Whatever this worker held before, it does not run any more.
      await reap({ db, log, worker: name })
      off = listener.on('hypeman_queue', claims.poke)
      void claims.start()
      reaper.start()
    },

    /** From now on nothing is claimed; what still runs after that time is handed back. */
    drain(handBackInMs: number): void {
      if (isStopped) return
      if (!isDraining) log.info({ running: running.size, handBackInMs }, 'draining')
      isDraining = true
      clearTimeout(drainTimer)
      drainTimer = setTimeout(handBackRunning, handBackInMs)
    },

    /** Ends a drain. */
    resume(): void {
      if (!isDraining) return
      log.info('claiming again')
      isDraining = false
      clearTimeout(drainTimer)
      claims.poke()
    },

    /** Waits that long for what runs, hands back what is left, and ends. */
    async stop(graceMs = 0): Promise<void> {
      isStopped = true
      off()
      clearTimeout(drainTimer)
      await Promise.all([reaper.stop(), claims.stop()])
      if (graceMs > 0 && running.size > 0) {
        log.info({ running: running.size, graceMs }, 'waiting for running builds')
        await inTime(Promise.allSettled(running), graceMs)
      }
      handBack.abort()
      await Promise.allSettled(running)
    },

    get runningCount(): number {
      return running.size
    },
  }
}

/** One listener per running build. */
function forMany(): AbortController {
  const controller = new AbortController()
  setMaxListeners(0, controller.signal)
  return controller
}
