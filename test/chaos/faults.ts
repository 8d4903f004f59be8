// What each fault of the plan does to the world.
import { setTimeout as sleep } from 'node:timers/promises'
import { LEASE_MS, REAPER_INTERVAL_MS } from '../../server/limits.ts'
import { podPids, registryPids } from '../helpers/leftovers.ts'
import type { Kept } from './kept.ts'
import type { Fault } from './plan.ts'
import type { World } from './world.ts'

/** Beyond its lease. */
const FROZEN_LONG_MS = LEASE_MS + 8_000

export interface FaultOptions {
  world: World
  /**
   * How a worker that is stopped loses its leases: `wait` until they have run out, or `expire` them, as if they had,
   * which takes a short run no time.
   */
  leases: 'wait' | 'expire'
}

/** Done when all is as before; says what it did. Skips what is away already. */
export async function inject(
  fault: Fault,
  { world, leases }: FaultOptions,
  say: (text: string) => void,
): Promise<void> {
  const { server, workers, postgres } = world
  const { forMs } = fault
  const worker = workers[fault.worker]!
  const down = async (kept: Kept, signal: NodeJS.Signals, what: string) => {
    if (kept.pid() === undefined) return say(`${what}: it is away already`)
    say(`${what}, back after ${forMs} ms`)
    await kept.down(signal, forMs)
  }
  const databaseDown = async (signal: 'SIGKILL' | 'SIGINT', what: string) => {
    if (!postgres.isUp()) return say(`${what}: it is away already`)
    say(`${what}, back after ${forMs} ms`)
    await postgres.down(signal)
    await sleep(forMs)
    await postgres.up()
  }
  const killOne = async (pids: number[], what: string) => {
    const [pid] = pids
    if (pid === undefined) return say(`${what}: there is none`)
    say(`${what} (${pid})`)
    kill(pid)
  }

  switch (fault.kind) {
    case 'kill-server':
      return down(server, 'SIGKILL', 'kill -9 server')
    case 'stop-server':
      return down(server, 'SIGTERM', 'SIGTERM server')
    case 'freeze-server':
      say(`SIGSTOP server for ${forMs} ms`)
      return freeze(server, forMs)
    case 'kill-worker':
      return down(worker, 'SIGKILL', `kill -9 ${worker.name}`)
    case 'drain-worker':
      return down(worker, 'SIGTERM', `SIGTERM ${worker.name}`)
    case 'freeze-worker':
      say(`SIGSTOP ${worker.name} beyond its leases`)
      return leases === 'wait' ? freeze(worker, FROZEN_LONG_MS) : expireFrozen(world, worker)
    case 'kill-pod':
      return killOne(await podPids(worker.pid() ?? -1), `kill -9 a pod of ${worker.name}`)
    case 'kill-postgres':
      return databaseDown('SIGKILL', 'kill -9 PostgreSQL')
    case 'restart-postgres':
      return databaseDown('SIGINT', 'fast shutdown of PostgreSQL')
    case 'kill-registry':
      return killOne(await registryPids(server.pid() ?? -1), 'kill -9 registry')
  }
}

async function freeze(kept: Kept, forMs: number): Promise<void> {
  kept.signal('SIGSTOP')
  await sleep(forMs)
  kept.signal('SIGCONT')
}

/** Stopped for a moment that is made to be longer than its leases. */
async function expireFrozen({ db }: World, worker: Kept): Promise<void> {
  const { ready: name } = await worker.up()
  worker.signal('SIGSTOP')
  await sleep(1_000)
  await db('builds')
    .where({ worker: name })
    .whereNotNull('lease_token')
    .update({ lease_until: db.raw(`clock_timestamp() - interval '1 s'`) })
    .catch(() => {}) // the database is away as well: then it keeps its leases
  await sleep(REAPER_INTERVAL_MS + 1_000)
  worker.signal('SIGCONT')
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    // It has ended by itself in the meantime.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
