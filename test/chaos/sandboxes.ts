// What really runs, whatever the database says: looked at again and again while all else breaks.
import { setTimeout as sleep } from 'node:timers/promises'
import { podPids } from '../helpers/leftovers.ts'
import type { Kept } from './kept.ts'

const LOOK_MS = 1_000

export interface SandboxWatch {
  /** Ends it. The most sandboxes that any worker had at once. */
  stop(): Promise<number>
}

/** Tells of each worker that has more sandboxes than it may have. */
export function watchSandboxes(
  workers: readonly Kept[],
  mostOfEach: number,
  onTooMany: (what: string) => void,
): SandboxWatch {
  const over = new AbortController()
  let most = 0

  async function look({ name, pid }: Kept): Promise<void> {
    const pids = await podPids(pid() ?? -1)
    most = Math.max(most, pids.length)
    if (pids.length <= mostOfEach) return
    onTooMany(`${name} has ${pids.length} of at most ${mostOfEach} sandboxes: ${pids.join(', ')}`)
  }

  async function watch(): Promise<number> {
    while (!over.signal.aborted) {
      await Promise.all(workers.map(look))
      await sleep(LOOK_MS, undefined, { signal: over.signal }).catch(() => {})
    }
    return most
  }

  const watched = watch()
  return {
    stop() {
      over.abort()
      return watched
    },
  }
}
