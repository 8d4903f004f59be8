// A worker's entry in `workers`: made at start, renewed every few seconds, gone with a clean end. With each beat it
// learns whether it is to drain.
import type { Listener } from '../db/listen.ts'
import type { Db } from '../db/pool.ts'
import { AppError } from '../errors.ts'
import { HEARTBEAT_MS } from '../limits.ts'
import { createRounds } from '../rounds.ts'
import type { Log } from '../telemetry/log.ts'
import { createWorkerStore, type WorkerIdentity } from './store.ts'

export interface PresenceOptions {
  db: Db
  listener: Listener
  log: Log
  worker: WorkerIdentity
  /** Running builds are to be handed back after so long; undefined: it may take builds (again). */
  onDrain(handBackInMs: number | undefined): void
  /** It may not go on: another process has its name. */
  onUnfit(reason: string): void
}

export function createPresence({ db, listener, log, worker, onDrain, onUnfit }: PresenceOptions) {
  const store = createWorkerStore({ db })
  let isDraining = false
  let off = () => {}

  async function beat(): Promise<void> {
    const known = await store.beat(worker, HEARTBEAT_MS)
    if (!known) {
      // Forgotten while the database was away for long, or taken by another process.
      if (await store.restore(worker)) return
      onUnfit(`another process is the worker ${worker.id} now`)
      return
    }
    const { handBackInMs } = known
    if (handBackInMs === undefined && !isDraining) return
    isDraining = handBackInMs !== undefined
    onDrain(handBackInMs)
  }

  const rounds = createRounds({
    work: beat,
    intervalMs: HEARTBEAT_MS,
    onError: ({ message }) => log.warn({ err: message }, 'worker not renewed; will retry'),
  })

  return {
    /** Throws AppError `conflict` while another process has this worker's name. */
    async start(): Promise<void> {
      if (!(await store.register(worker))) {
        throw new AppError(
          'conflict',
          `the worker ${worker.id} runs already, on another machine or data folder. Was DATA_DIR=${worker.dataDir} copied? Then remove its file worker-name; if that one has just ended, try again in 30 s`,
        )
      }
      off = listener.on('hypeman_workers', (id) => {
        if (id === worker.id || id === '') rounds.poke()
      })
      await rounds.start(HEARTBEAT_MS)
    },

    async stop(): Promise<void> {
      off()
      await rounds.stop()
      await store.remove(worker)
    },
  }
}
