// Name → addresses, with a deadline and only a few at a time: the system's resolver has no way to be
// interrupted, and blocks a thread of the pool that the server's files need too.
import { lookup } from 'node:dns/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { EGRESS_LOOKUP_DEADLINE_MS, EGRESS_LOOKUPS_MAX } from '../limits.ts'
import { EgressTimeout } from './refusals.ts'

export type Resolve = (host: string) => Promise<string[]>

export interface ResolveOptions {
  /** The system's, unless a test brings its own. */
  lookupAll?: Resolve
  deadlineMs?: number
}

/** Rejects with EgressTimeout or the resolver's error. */
export function createResolve({
  lookupAll = systemLookup,
  deadlineMs = EGRESS_LOOKUP_DEADLINE_MS,
}: ResolveOptions = {}): Resolve {
  const waiting: (() => void)[] = []
  let running = 0

  async function take(): Promise<void> {
    if (running < EGRESS_LOOKUPS_MAX) running += 1
    else await new Promise<void>((resolve) => waiting.push(resolve))
  }

  function giveBack(): void {
    const next = waiting.shift()
    if (next) next()
    else running -= 1
  }

  return async (host) => {
    const late = new AbortController()
    const deadline = sleep(deadlineMs, undefined, { signal: late.signal }).then(() => {
      throw new EgressTimeout(`no address for ${host} within ${deadlineMs / 1000} s`)
    })
    const answer = take()
      .then(() => (late.signal.aborted ? [] : lookupAll(host)))
      .finally(giveBack)
    try {
      return await Promise.race([answer, deadline])
    } finally {
      late.abort()
      deadline.catch(() => {}) // ended by the line above
      answer.catch(() => {}) // came after the deadline
    }
  }
}

async function systemLookup(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address)
}
