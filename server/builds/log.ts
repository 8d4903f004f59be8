// Reading a build's log: follow() is one async iterable with two kinds of readers, the hook's stream and SSE.

import type { Listener } from '../db/listen.ts'
import type { Db } from '../db/pool.ts'
import { FOLLOW_POLL_MS, LOG_READ_ROWS_MAX } from '../limits.ts'
import { readEvents } from './event-store.ts'
import { type BuildEvent, type BuildStatus, TERMINAL } from './schema.ts'

export type BuildLog = ReturnType<typeof createBuildLog>

export interface BuildLogOptions {
  db: Db
  listener: Listener
  /** Told how the followers fare. */
  watch?: FollowWatch
}

export interface FollowWatch {
  opened(): void
  closed(): void
  /** A batch of events that came while the follower waited was handed over; the age of its oldest. */
  delivered(lagMs: number): void
}

export function createBuildLog({ db, listener, watch }: BuildLogOptions) {
  const read = (buildId: string, afterSeq: number, limit = LOG_READ_ROWS_MAX) =>
    readEvents(db, buildId, afterSeq, limit)

  /**
   * Events after `afterSeq` in order, as they are appended; ends after the terminal status, which is the
   * last event of a build, or when the signal aborts. Reads only as fast as it is consumed.
   */
  async function* follow(
    buildId: string,
    afterSeq: number,
    signal: AbortSignal,
  ): AsyncGenerator<BuildEvent> {
    const bell = createBell()
    const off = listener.on('hypeman_build', (id) => {
      if (id === buildId || id === '') bell.ring()
    })
    watch?.opened()
    try {
      let seq = afterSeq
      let isLive = false // what is read before the first wait is history
      while (!signal.aborted) {
        bell.reset()
        const events = await read(buildId, seq)
        for (const event of events) {
          if (signal.aborted) return
          seq = event.seq
          yield event
          if (isLive && event === events[0]) watch?.delivered(Date.now() - event.at.getTime())
          if (event.type === 'status' && TERMINAL.has(event.status)) return
        }
        if (events.length > 0) continue
        if (await isFinished(buildId, seq)) return
        isLive = true
        await bell.wait(FOLLOW_POLL_MS, signal)
      }
    } finally {
      off()
      watch?.closed()
    }
  }

  // A reader may resume behind the last event of a finished build: nothing will come any more.
  async function isFinished(buildId: string, seq: number): Promise<boolean> {
    const row = await db('builds').where({ id: buildId }).first('status', 'last_seq')
    if (!row) return true
    return TERMINAL.has(row.status as BuildStatus) && row.last_seq <= seq
  }

  return { read, follow }
}

/** Reset before a read, so that a ring during the read ends the wait after it at once. */
function createBell() {
  let rung = false
  let wake = () => {}
  return {
    ring(): void {
      rung = true
      wake()
    },
    reset(): void {
      rung = false
    },
    wait(timeoutMs: number, signal: AbortSignal): Promise<void> {
      if (rung || signal.aborted) return Promise.resolve()
      return new Promise((resolve) => {
        const done = () => {
          clearTimeout(timer)
          signal.removeEventListener('abort', done)
          wake = () => {}
          resolve()
        }
        const timer = setTimeout(done, timeoutMs)
        signal.addEventListener('abort', done, { once: true })
        wake = done
      })
    },
  }
}
