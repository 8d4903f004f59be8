// Stores an attempt's connections as they happen, in batches that follow each other. Nothing is dropped: how
// many there can be is bounded where they are made.
import type { ConnectionEvent } from '../builds/connections.ts'
import { CONNECTIONS_BATCH_DELAY_MS, CONNECTIONS_BATCH_ROWS_MAX } from '../limits.ts'
import type { Lease } from '../queue/lease.ts'

export type ConnectionRows = Pick<
  Lease,
  'appendConnections' | 'countConnections' | 'promiseConnections'
>

export function createConnectionWriter({
  lease,
  attempt,
}: {
  lease: ConnectionRows
  attempt: number
}) {
  let pending: ConnectionEvent[] = []
  /** Number of the last one before this attempt's first. */
  let before: number | undefined
  let observed = 0
  let written = 0
  let timer: NodeJS.Timeout | undefined
  let writing: Promise<void> = Promise.resolve()

  async function writeAll(): Promise<void> {
    before ??= await lease.countConnections()
    while (pending.length > 0) {
      const batch = pending.slice(0, CONNECTIONS_BATCH_ROWS_MAX)
      const held = await lease.appendConnections(attempt, before + written, batch)
      if (!held) return
      written += batch.length
      pending = pending.slice(batch.length)
    }
  }

  function flush(): Promise<void> {
    clearTimeout(timer)
    timer = undefined
    const done = writing.then(writeAll)
    writing = done.catch(() => {}) // whoever flushes again tries again
    return done
  }

  return {
    add(event: ConnectionEvent): void {
      observed += 1
      pending.push(event)
      timer ??= setTimeout(() => void flush().catch(() => {}), CONNECTIONS_BATCH_DELAY_MS)
    },
    /** Rejects when the database does not take them; may be tried again. */
    async close(): Promise<{ promised: number; stored: number | undefined }> {
      await flush()
      const promised = (before ?? 0) + observed
      return { promised, stored: await lease.promiseConnections(promised) }
    },
  }
}
