// Reading a build's log. pages() is one async iterable with three kinds of readers: SSE, the hook's stream
// (as single events), and whoever waits for a status.
import { isDatabaseGone, untilDatabase } from '../db/gone.ts'
import type { Listener } from '../db/listen.ts'
import type { Db } from '../db/pool.ts'
import { joinSignals } from '../join-signals.ts'
import { DATABASE_AWAY_MAX_MS, LOG_READ_ROWS_MAX } from '../limits.ts'
import { nextSeq, readEvents } from './event-store.ts'
import { createFeeds, type Page } from './feed.ts'
import { type BuildEvent, type BuildStatus, TERMINAL } from './schema.ts'

export type BuildLog = ReturnType<typeof createBuildLog>
export type EventPages = AsyncIterable<readonly BuildEvent[]>

export interface BuildLogOptions {
  db: Db
  listener: Listener
  /** Told how the followers fare. */
  watch?: FollowWatch
}

export interface FollowWatch {
  opened(): void
  closed(): void
  /** A page of events that came while the follower waited was handed over; the age of its oldest. */
  delivered(lagMs: number): void
}

export function createBuildLog({ db, listener, watch }: BuildLogOptions) {
  const read = (buildId: string, afterSeq: number) =>
    readEvents(db, buildId, afterSeq, LOG_READ_ROWS_MAX)
  const feeds = createFeeds({ listener, read: readPage })

  async function readPage(buildId: string, afterSeq: number): Promise<Page> {
    const events = await read(buildId, afterSeq)
    if (events.length > 0 || !(await isOver(buildId))) return { events, finished: false }
    const rest = await readBehindGap(buildId, afterSeq)
    return { events: rest, finished: rest.length === 0 }
  }

  async function isOver(buildId: string): Promise<boolean> {
    const row = await db('builds').where({ id: buildId }).first('status')
    return !row || TERMINAL.has(row.status as BuildStatus)
  }

  /** Retention removes lines of builds that have ended: the only gaps there are. */
  async function readBehindGap(buildId: string, afterSeq: number): Promise<BuildEvent[]> {
    const next = await nextSeq(db, buildId, afterSeq)
    return next === undefined ? [] : read(buildId, next - 1)
  }

  /**
   * Events after `afterSeq` in order, as they are appended; ends after the terminal status, which is the
   * last event of a build, or when the signal aborts. Reads only as fast as it is consumed, and holds one
   * page. Pages are shared with other followers: not to be changed.
   */
  async function* pages(
    buildId: string,
    afterSeq: number,
    signal: AbortSignal,
  ): AsyncGenerator<readonly BuildEvent[]> {
    const { feed, leave } = feeds.join(buildId)
    watch?.opened()
    try {
      let seq = afterSeq
      let isLive = false // what is read before the first wait is history
      while (!signal.aborted) {
        const heard = feed.bell.count
        const page = await patiently(() => feed.page(seq), signal)
        if (!page) return
        const { events, finished } = page
        const last = events.at(-1)
        if (last) {
          seq = last.seq
          yield events
          if (isLive) watch?.delivered(Math.max(0, Date.now() - events[0]!.at.getTime()))
          if (isEnd(last)) return
          continue
        }
        if (finished) return
        isLive = true
        await feed.bell.rung(heard, signal)
      }
    } finally {
      leave()
      watch?.closed()
    }
  }

  async function* follow(
    buildId: string,
    afterSeq: number,
    signal: AbortSignal,
  ): AsyncGenerator<BuildEvent> {
    for await (const events of pages(buildId, afterSeq, signal)) {
      for (const event of events) {
        if (signal.aborted) return
        yield event
      }
    }
  }

  /** What there is between two numbers, both ends as they were when asked: it does not grow while read. */
  async function* until(
    buildId: string,
    afterSeq: number,
    lastSeq: number,
    signal: AbortSignal,
  ): AsyncGenerator<readonly BuildEvent[]> {
    let seq = afterSeq
    while (seq < lastSeq && !signal.aborted) {
      const page = await read(buildId, seq)
      const found = page.length > 0 ? page : await readBehindGap(buildId, seq)
      const events = found.filter((event) => event.seq <= lastSeq)
      if (events.length === 0) return
      seq = events.at(-1)!.seq
      yield events
    }
  }

  return {
    pages,
    follow,
    until,
    /** How many builds are followed in this process. */
    followed: () => feeds.size,
  }
}

/** A database that restarts costs a reader some silence, and no line. undefined when the signal aborts meanwhile. */
async function patiently<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    if (!isDatabaseGone(error)) throw error
    const until = joinSignals([signal], DATABASE_AWAY_MAX_MS)
    try {
      return await untilDatabase(work, until.signal)
    } catch (reason) {
      if (signal.aborted) return undefined
      throw until.signal.aborted ? error : reason
    } finally {
      until.dispose()
    }
  }
}

function isEnd(event: BuildEvent): boolean {
  return event.type === 'status' && TERMINAL.has(event.status)
}
