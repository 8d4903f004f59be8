// What each fault of the plan does to the world.
import { setTimeout as sleep } from 'node:timers/promises'
import { LEASE_MS, REAPER_INTERVAL_MS } from '../../server/limits.ts'
import { podPids, qemuPids, registryPids, vsockPids } from '../helpers/leftovers.ts'
import type { Kept } from './kept.ts'
import { freezeUntilEnded, signal as send } from './machine-faults.ts'
import type { Fault } from './plan.ts'
import type { World } from './world.ts'

/** Beyond its lease. */
const FROZEN_LONG_MS = LEASE_MS + 8_000
const LOOK_MS = 50

export interface FaultOptions {
  world: World
  /**
   * How a worker that is stopped loses its leases: `wait` until they have run out, or `expire` them, as if they had,
   * which takes a short run no time.
   */
  leases: 'wait' | 'expire'
  say(text: string): void
  /** Told of a fault that nobody has found out. */
  onSurprise(what: string): void
  /** Nothing begins after it. */
  signal: AbortSignal
}

/** Waits until what it is about is there; done when all is as before. Says what it did. */
export async function inject(
  fault: Fault,
  { world, leases, say, onSurprise, signal }: FaultOptions,
): Promise<void> {
  const { server, workers, postgres } = world
  const { forMs } = fault
  const worker = workers[fault.worker]!
  const down = async (kept: Kept, how: NodeJS.Signals, what: string) => {
    if (!(await found(async () => kept.pid() !== undefined, signal))) return
    say(`${what}, back after ${forMs} ms`)
    await kept.down(how, forMs)
  }
  const databaseDown = async (how: 'SIGKILL' | 'SIGINT', what: string) => {
    if (!(await found(async () => postgres.isUp(), signal))) return
    say(`${what}, back after ${forMs} ms`)
    await postgres.down(how)
    await sleep(forMs)
    await postgres.up()
  }
  type PidsOf = (pid: number) => Promise<number[]>
  const one = async (kept: Kept, pidsOf: PidsOf, what: string) => {
    const pid = await found(async () => (await pidsOf(kept.pid() ?? -1))[0], signal)
    if (pid) say(`${what} (${pid})`)
    return pid
  }
  const killOne = async (kept: Kept, pidsOf: PidsOf, what: string) => {
    const pid = await one(kept, pidsOf, `kill -9 ${what}`)
    if (pid) send(pid, 'SIGKILL')
  }
  const freezeOne = async (pidsOf: PidsOf, what: string) => {
    const pid = await one(worker, pidsOf, `SIGSTOP ${what}`)
    const surprise = pid && (await freezeUntilEnded(pid, what))
    if (surprise) onSurprise(surprise)
  }
  const freeze = async (kept: Kept, thawed: () => Promise<void>, what: string) => {
    if (!(await found(async () => kept.pid() !== undefined, signal))) return
    say(what)
    kept.signal('SIGSTOP')
    await thawed()
    kept.signal('SIGCONT')
  }

  switch (fault.kind) {
    case 'kill-server':
      return down(server, 'SIGKILL', 'kill -9 server')
    case 'stop-server':
      return down(server, 'SIGTERM', 'SIGTERM server')
    case 'freeze-server':
      return freeze(server, () => sleep(forMs), `SIGSTOP server for ${forMs} ms`)
    case 'kill-worker':
      return down(worker, 'SIGKILL', `kill -9 ${worker.name}`)
    case 'drain-worker':
      return down(worker, 'SIGTERM', `SIGTERM ${worker.name}`)
    case 'freeze-worker':
      return freeze(
        worker,
        () => (leases === 'wait' ? sleep(FROZEN_LONG_MS) : expireLeases(world, worker)),
        `SIGSTOP ${worker.name} beyond its leases`,
      )
    case 'kill-pod':
      return killOne(worker, podPids, `a pod of ${worker.name}`)
    case 'kill-postgres':
      return databaseDown('SIGKILL', 'kill -9 PostgreSQL')
    case 'restart-postgres':
      return databaseDown('SIGINT', 'fast shutdown of PostgreSQL')
    case 'kill-registry':
      return killOne(server, registryPids, 'registry')
    case 'freeze-vm':
      return freezeOne(qemuPids, `a VM of ${worker.name}`)
    case 'kill-vsock':
      return killOne(worker, vsockPids, `a vsock device of ${worker.name}`)
    case 'freeze-vsock':
      return freezeOne(vsockPids, `a vsock device of ${worker.name}`)
  }
}

/** As if so much time had passed; the server takes the builds back meanwhile. */
async function expireLeases({ db }: World, worker: Kept): Promise<void> {
  const { ready: name } = await worker.up()
  await sleep(1_000)
  await db('builds')
    .where({ worker: name })
    .whereNotNull('lease_token')
    .update({ lease_until: db.raw(`clock_timestamp() - interval '1 s'`) })
    .catch(() => {}) // the database is away as well: then it keeps its leases
  await sleep(REAPER_INTERVAL_MS + 1_000)
}

/** Looks until it is there; undefined when the run is over before. */
async function found<T>(look: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  while (!signal.aborted) {
    const seen = await look()
    if (seen) return seen
    await sleep(LOOK_MS)
  }
  return undefined
}
