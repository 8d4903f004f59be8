// Batches a running build's events into its numbered log. Log lines over the cap keep head and tail: the
// head is written as it comes, the last lines are held back and written at the end, the cut is named.
import { randomUUID } from 'node:crypto'
import type { NewEvent } from '../builds/event-store.ts'
import {
  DATABASE_RETRY_MS,
  LOG_BATCH_DELAY_MS,
  LOG_BATCH_LINES_MAX,
  LOG_HEAD_BYTES_MAX,
  LOG_LINE_BYTES_MAX,
  LOG_TAIL_BYTES_MAX,
  STEPS_BYTES_MAX,
} from '../limits.ts'

/** Producers wait while this many events are unwritten. */
const PENDING_EVENTS_MAX = 4 * LOG_BATCH_LINES_MAX

export interface LogWriterOptions {
  /** Appends in order; false = the lease is gone and nothing was written. */
  append(events: readonly NewEvent[], batch: string): Promise<boolean>
  headBytesMax?: number
  tailBytesMax?: number
  retryMs?: number
}

export type LogWriter = ReturnType<typeof createLogWriter>

export function createLogWriter({
  append,
  headBytesMax = LOG_HEAD_BYTES_MAX,
  tailBytesMax = LOG_TAIL_BYTES_MAX,
  retryMs = DATABASE_RETRY_MS,
}: LogWriterOptions) {
  let pending: NewEvent[] = []
  let headBytes = 0
  let stepBytes = 0
  const tail = createTail(tailBytesMax)
  let cutting = false
  let lost = false
  let isClosing = false
  /** What was tried to be written, and may be there already. */
  let batch: { id: string; events: NewEvent[] } | undefined
  let failure: unknown
  let timer: NodeJS.Timeout | undefined
  let writing: Promise<void> = Promise.resolve()

  /** Takes an event; resolves when there is room for the next. */
  async function write(event: NewEvent): Promise<void> {
    if (lost) return
    if (event.type === 'log' && !admitted(event)) return
    if (event.type === 'step') {
      // No Dockerfile has so many; a guest that makes them up would fill the database.
      stepBytes += JSON.stringify(event.step).length
      if (stepBytes > STEPS_BYTES_MAX) return
    }
    pending.push(event)
    if (pending.length >= LOG_BATCH_LINES_MAX) flushSoon(0)
    else flushSoon(LOG_BATCH_DELAY_MS)
    if (pending.length >= PENDING_EVENTS_MAX) await flush()
  }

  function admitted(event: NewEvent & { type: 'log' }): boolean {
    if (event.line.length > LOG_LINE_BYTES_MAX) {
      event.line = `${event.line.slice(0, LOG_LINE_BYTES_MAX)} … [line cut]`
    }
    const bytes = Buffer.byteLength(event.line) + 1
    if (!cutting && headBytes + bytes <= headBytesMax) {
      headBytes += bytes
      return true
    }
    if (!cutting) {
      cutting = true
      const line = `… log limit of ${headBytesMax} bytes reached; the last lines follow at the end …`
      pending.push({ type: 'log', line })
    }
    tail.push(event, bytes)
    return false
  }

  function flushSoon(delayMs: number): void {
    if (delayMs === 0) {
      clearTimeout(timer)
      timer = undefined
      void flush()
    } else {
      timer ??= setTimeout(() => {
        timer = undefined
        void flush()
      }, delayMs)
    }
  }

  /** Writes what is pending; batches follow each other, never overlap. */
  function flush(): Promise<void> {
    writing = writing.then(async () => {
      while (pending.length > 0 && !lost) {
        batch ??= { id: randomUUID(), events: pending.slice(0, LOG_BATCH_LINES_MAX) }
        try {
          if (!(await append(batch.events, batch.id))) lost = true
          pending = pending.slice(batch.events.length)
          batch = undefined
        } catch (error) {
          // The database may be back in a moment: the batch stays as it is and close() will say if not.
          failure = error
          if (!isClosing) flushSoon(retryMs)
          return
        }
        failure = undefined
      }
    })
    return writing
  }

  return {
    write,
    /** Writes everything that is left, tail included. Rejects when the database does not take it. */
    async close(): Promise<void> {
      isClosing = true
      clearTimeout(timer)
      pending.push(...tail.take())
      await flush()
      if (failure !== undefined) throw failure
    },
  }
}

/** Forgotten entries at the front are dropped from memory in blocks, so that a push stays cheap. */
const TAIL_COMPACT_ENTRIES = 1024

function createTail(bytesMax: number) {
  let kept: { event: NewEvent & { type: 'log' }; bytes: number }[] = []
  let first = 0
  let keptBytes = 0
  let cutLines = 0
  let cutBytes = 0
  return {
    push(event: NewEvent & { type: 'log' }, bytes: number): void {
      kept.push({ event, bytes })
      keptBytes += bytes
      while (keptBytes > bytesMax && first < kept.length - 1) {
        keptBytes -= kept[first]!.bytes
        cutBytes += kept[first]!.bytes
        cutLines += 1
        first += 1
      }
      if (first >= TAIL_COMPACT_ENTRIES) {
        kept = kept.slice(first)
        first = 0
      }
    },
    take(): NewEvent[] {
      const lines = kept.slice(first).map(({ event }) => event)
      kept = []
      first = 0
      if (cutLines === 0) return lines
      const line = `… ${cutLines} lines (${cutBytes} bytes) cut here …`
      return [{ type: 'log', line }, ...lines]
    },
  }
}
