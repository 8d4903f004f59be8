// Waiting for the result of a gated build: its image is in the registry, and it waits for its branch.
import { setTimeout as sleep } from 'node:timers/promises'
import { TERMINAL } from '../builds/schema.ts'
import type { BuildRow, BuildStore } from '../builds/store.ts'
import type { Listener } from '../db/listen.ts'
import { GATE_POLL_MS } from '../limits.ts'

/** `passed` and the branch may move; `ended` without. */
export type Verdict = 'passed' | 'ended'

export function verdictOf(build: BuildRow | undefined): Verdict | undefined {
  if (!build || TERMINAL.has(build.status)) return 'ended'
  return build.status === 'pushing' && build.resultAt ? 'passed' : undefined
}

/** undefined when the signal aborts first. */
export async function untilVerdict(
  { store, listener }: { store: Pick<BuildStore, 'get'>; listener: Pick<Listener, 'on'> },
  buildId: string,
  signal: AbortSignal,
): Promise<Verdict | undefined> {
  while (!signal.aborted) {
    const heard = new AbortController()
    const off = listener.on('hypeman_result', (id) => {
      if (id === buildId || id === '') heard.abort()
    })
    try {
      // The database is away: asked again until it answers.
      const verdict = await store.get(buildId).then(verdictOf, () => undefined)
      if (verdict) return verdict
      const woken = AbortSignal.any([heard.signal, signal])
      await sleep(GATE_POLL_MS, undefined, { signal: woken }).catch(() => {}) // woken early
    } finally {
      off()
    }
  }
  return undefined
}
