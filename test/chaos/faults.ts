// What each fault of the plan does to the world.
import { setTimeout as sleep } from 'node:timers/promises'
import { LEASE_MS, REAPER_INTERVAL_MS } from '../../server/limits.ts'
import { podPids, qemuPids, registryPids, treeOf, vsockPids } from '../helpers/leftovers.ts'
import type { Kept } from './kept.ts'
import { freezeUntilEnded } from './machine-faults.ts'
import type { Fault } from './plan.ts'
import { signalAll } from './signals.ts'
import type { World } from './world.ts'

/** Beyond its lease. */
const FROZEN_LONG_MS = LEASE_MS + 8_000
const LOOK_MS = 200

export interface FaultOptions {
  world: World
  /**
   * How a worker that is stopped loses its leases: `wait` until they have run out, or `expire` them, as if they had,
   * which takes a short run no time.
   */
  leases: 'wait' | 'expire'
  say(text: string): void
  /** Told of what stands still and nobody has found out. */
  onSurprise(what: string): void
  /** Nothing begins after it. */
  signal: AbortSignal
}

/** Of one fault: the process it is about, and for how long. */
interface At extends FaultOptions {
  worker: Kept
  forMs: number
}

type Down = Parameters<World['postgres']['down']>[0]
type PidsOf = (pid: number) => Promise<number[]>

/**
 * Waits until what it is about is there; done when all is as before. Says what it did; false when there was nothing
 * to do it to.
 */
export function inject({ kind, worker: n, forMs }: Fault, options: FaultOptions): Promise<boolean> {
  const { world, leases } = options
  const { server } = world
  const worker = world.workers[n]!
  const at: At = { ...options, worker, forMs }
  const beyond = () => (leases === 'wait' ? sleep(FROZEN_LONG_MS) : expireLeases(world, worker))
  const faults: Record<Fault['kind'], () => Promise<boolean>> = {
    'kill-server': () => down(at, server, 'SIGKILL'),
    'stop-server': () => down(at, server, 'SIGTERM'),
    'freeze-server': () => freeze(at, server, `for ${forMs} ms`, () => sleep(forMs)),
    'kill-worker': () => down(at, worker, 'SIGKILL'),
    'drain-worker': () => down(at, worker, 'SIGTERM'),
    'freeze-worker': () => freeze(at, worker, 'beyond its leases', beyond),
    'kill-pod': () => killChild(at, worker, podPids, `a pod of ${worker.name}`),
    'freeze-pod': () => freezeChild(at, worker, podPids, `a pod of ${worker.name}`),
    'freeze-vm': () => freezeForGood(at, worker, qemuPids, `a VM of ${worker.name}`),
    'kill-vsock': () => killChild(at, worker, vsockPids, `a vsock device of ${worker.name}`),
    'freeze-vsock': () => freezeForGood(at, worker, vsockPids, `a vsock device of ${worker.name}`),
    'kill-postgres': () => databaseDown(at, 'SIGKILL'),
    'restart-postgres': () => databaseDown(at, 'SIGINT'),
    'freeze-postgres': () => freezeDatabase(at),
    'kill-registry': () => killChild(at, server, registryPids, 'the registry'),
    'freeze-registry': () => freezeChild(at, server, registryPids, 'the registry'),
  }
  return faults[kind]()
}

async function down({ forMs, say, signal }: At, kept: Kept, how: NodeJS.Signals): Promise<boolean> {
  if (!(await found(async () => kept.pid() !== undefined, signal))) return false
  say(`${how} to ${kept.name}, back after ${forMs} ms`)
  await kept.down(how, forMs)
  return true
}

async function freeze({ say, signal }: At, kept: Kept, howLong: string, over: () => Promise<void>) {
  if (!(await found(async () => kept.pid() !== undefined, signal))) return false
  say(`SIGSTOP to ${kept.name} ${howLong}`)
  kept.signal('SIGSTOP')
  await over()
  kept.signal('SIGCONT')
  return true
}

async function killChild({ say, signal }: At, kept: Kept, pidsOf: PidsOf, what: string) {
  const pid = await childOf(kept, pidsOf, signal)
  if (pid === undefined) return false
  say(`SIGKILL to ${what} (${pid})`)
  signalAll([pid], 'SIGKILL')
  return true
}

async function freezeChild({ forMs, say, signal }: At, kept: Kept, pidsOf: PidsOf, what: string) {
  const pid = await childOf(kept, pidsOf, signal)
  if (pid === undefined) return false
  const pids = await treeOf(pid)
  say(`SIGSTOP to ${what} (${pids.join(', ')}) for ${forMs} ms`)
  signalAll(pids, 'SIGSTOP')
  await sleep(forMs)
  signalAll(pids, 'SIGCONT')
  return true
}

/** Whoever has started it must find out and end it. */
async function freezeForGood(at: At, kept: Kept, pidsOf: PidsOf, what: string): Promise<boolean> {
  const pid = await childOf(kept, pidsOf, at.signal)
  if (pid === undefined) return false
  at.say(`SIGSTOP to ${what} (${pid}) for good`)
  const surprise = await freezeUntilEnded(pid, what)
  if (surprise !== undefined) at.onSurprise(surprise)
  return true
}

const childOf = (kept: Kept, pidsOf: PidsOf, signal: AbortSignal) =>
  found(async () => (await pidsOf(kept.pid() ?? -1))[0], signal)

async function databaseDown({ world: { postgres }, forMs, say, signal }: At, how: Down) {
  if (!(await found(async () => postgres.isUp(), signal))) return false
  say(`${how} to PostgreSQL, back after ${forMs} ms`)
  await postgres.down(how)
  await sleep(forMs)
  await postgres.up()
  return true
}

async function freezeDatabase({ world: { postgres }, forMs, say, signal }: At): Promise<boolean> {
  if (!(await found(async () => postgres.isUp(), signal))) return false
  say(`SIGSTOP to PostgreSQL for ${forMs} ms`)
  await postgres.freeze(forMs)
  return true
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
