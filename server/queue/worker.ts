// The loop that claims builds and runs them. Notifications wake it, polling is the truth; on stop it claims
// nothing more, aborts what runs, and hands it back.
import { setMaxListeners } from 'node:events'
import type { Listener } from '../db/listen.ts'
import type { Db } from '../db/pool.ts'
import { asError } from '../errors.ts'
import { QUEUE_POLL_MS, REAPER_INTERVAL_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import { type ClaimedBuild, claimNext } from './claim.ts'
import { reap } from './reaper.ts'

export interface WorkerOptions {
  db: Db
  listener: Listener
  log: Log
  /** Name of this worker, the same after a restart of the same installation. */
  name: string
  /** Runs one build to its end; must not reject for what the build does. The signal means: hand it back. */
  run(build: ClaimedBuild, drain: AbortSignal): Promise<void>
  onClaim?: (build: ClaimedBuild) => void
  /** Asked before each claim; false: not now. */
  mayClaim?: () => Promise<boolean>
}

export type Worker = ReturnType<typeof createWorker>

export function createWorker(options: WorkerOptions) {
  const { db, listener, log, name, run, onClaim, mayClaim = async () => true } = options
  const running = new Set<Promise<void>>()
  const drain = new AbortController()
  setMaxListeners(0, drain.signal) // one per running build
  let timer: NodeJS.Timeout | undefined
  let reaperTimer: NodeJS.Timeout | undefined
  let claiming: Promise<void> | undefined
  let again = false
  let off = () => {}

  /** Claims until nothing can be claimed; a call during a round asks for one more round. */
  function poke(): void {
    if (drain.signal.aborted) return
    if (claiming) {
      again = true
      return
    }
    claiming = claimAll()
      .catch((error) => log.error({ err: asError(error).message }, 'claiming failed; will retry'))
      .finally(() => {
        claiming = undefined
        clearTimeout(timer)
        if (again) poke()
        else if (!drain.signal.aborted) timer = setTimeout(poke, QUEUE_POLL_MS)
      })
  }

  async function claimAll(): Promise<void> {
    do {
      again = false
      if (!(await mayClaim())) return
      const build = await claimNext(db, name)
      if (!build) continue
      log.info({ buildId: build.id, attempt: build.attempt }, 'build claimed')
      onClaim?.(build)
      const work = run(build, drain.signal)
        .catch((error) => log.error({ err: asError(error), buildId: build.id }, 'build run broke'))
        .finally(() => running.delete(work))
      running.add(work)
      again = true
    } while (again && !drain.signal.aborted)
  }

  async function reapLoop(): Promise<void> {
    await reap({ db, log }).catch((error) =>
      log.error({ err: asError(error).message }, 'reaper failed; will retry'),
    )
    if (!drain.signal.aborted) reaperTimer = setTimeout(() => void reapLoop(), REAPER_INTERVAL_MS)
  }

  return {
    async start(): Promise<void> {
      // Whatever this worker held before, it does not run any more.
      await reap({ db, log, worker: name })
      off = listener.on('hypeman_queue', poke)
      poke()
      void reapLoop()
    },

    async stop(): Promise<void> {
      drain.abort()
      off()
      clearTimeout(timer)
      clearTimeout(reaperTimer)
      await claiming
      await Promise.allSettled(running)
    },

    get runningCount(): number {
      return running.size
    },
  }
}
