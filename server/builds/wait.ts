// Waiting for a build's status, by its numbered events: a change between two looks is never missed.
import type { BuildLog } from './log.ts'
import { type BuildStatus, TERMINAL } from './schema.ts'
import type { BuildRow } from './store.ts'

/** Resolves when the status is one the caller waits for, when no more can come, or when the signal aborts. */
export async function untilStatus(
  buildLog: BuildLog,
  { id, status, lastSeq }: BuildRow,
  isAwaited: (status: BuildStatus) => boolean,
  signal: AbortSignal,
): Promise<void> {
  if (isAwaited(status) || TERMINAL.has(status)) return
  for await (const event of buildLog.follow(id, lastSeq, signal)) {
    if (event.type === 'status' && isAwaited(event.status)) return
  }
}
