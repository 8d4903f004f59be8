// What the followers of one build share: one ear for its notifications, one poll, and the pages of events read
// last. Numbered events never change, so a page is right for everybody who stands at the same number: however
// many follow, each page is read once.
import type { Listener } from '../db/listen.ts'
import { FEED_BYTES_MAX, FOLLOW_POLL_MS } from '../limits.ts'
import type { BuildEvent } from './schema.ts'

/** The events after a number; none of them and `finished` when none will come any more. */
export interface Page {
  events: readonly BuildEvent[]
  finished: boolean
}

export interface FeedsOptions {
  listener: Listener
  read(buildId: string, afterSeq: number): Promise<Page>
}

export type Feed = ReturnType<typeof createFeed>

export function createFeeds({ listener, read }: FeedsOptions) {
  const open = new Map<string, { feed: Feed; followers: number }>()

  return {
    /** To be left again; the last one to leave closes it. */
    join(buildId: string): { feed: Feed; leave(): void } {
      const shared = open.get(buildId) ?? {
        feed: createFeed(buildId, listener, (afterSeq) => read(buildId, afterSeq)),
        followers: 0,
      }
      open.set(buildId, shared)
      shared.followers += 1
      return {
        feed: shared.feed,
        leave() {
          shared.followers -= 1
          if (shared.followers > 0) return
          shared.feed.close()
          open.delete(buildId)
        },
      }
    },
    get size(): number {
      return open.size
    },
  }
}

function createFeed(
  buildId: string,
  listener: Listener,
  read: (afterSeq: number) => Promise<Page>,
) {
  const bell = createBell()
  const off = listener.on('hypeman_build', (id) => {
    if (id === buildId || id === '') bell.ring()
  })
  const poll = setInterval(bell.ring, FOLLOW_POLL_MS)
  const pages = createPages(FEED_BYTES_MAX)
  const reading = new Map<number, Promise<Page>>()

  function start(afterSeq: number): Promise<Page> {
    const page = read(afterSeq)
      .then((found) => {
        pages.keep(afterSeq, found)
        return found
      })
      .finally(() => reading.delete(afterSeq))
    reading.set(afterSeq, page)
    return page
  }

  return {
    bell,
    async page(afterSeq: number): Promise<Page> {
      const kept = pages.get(afterSeq)
      if (kept) return kept
      const running = reading.get(afterSeq)
      if (!running) return start(afterSeq)
      const found = await running
      if (found.events.length > 0 || found.finished) return found
      // That reading began before we asked: what came since is in the next one, shared again.
      return reading.get(afterSeq) ?? start(afterSeq)
    },
    close(): void {
      off()
      clearInterval(poll)
    },
  }
}

/** The pages read last, at most so many bytes of them; the oldest go first. */
function createPages(bytesMax: number) {
  const kept = new Map<number, { page: Page; bytes: number }>()
  let keptBytes = 0
  return {
    get: (afterSeq: number): Page | undefined => kept.get(afterSeq)?.page,
    keep(afterSeq: number, page: Page): void {
      if (page.events.length === 0 || kept.has(afterSeq)) return
      const bytes = page.events.reduce((sum, event) => sum + sizeOf(event), 0)
      kept.set(afterSeq, { page, bytes })
      keptBytes += bytes
      for (const [oldest, { bytes: freed }] of kept) {
        if (keptBytes <= bytesMax) break
        kept.delete(oldest)
        keptBytes -= freed
      }
    },
  }
}

const EVENT_BYTES = 256

function sizeOf(event: BuildEvent): number {
  return EVENT_BYTES + (event.type === 'log' ? event.line.length * 2 : 0)
}

/** Whoever notes the count before a read misses no ring that comes during the read. */
function createBell() {
  let count = 0
  const waiting = new Set<() => void>()
  return {
    get count(): number {
      return count
    },
    ring(): void {
      count += 1
      for (const wake of [...waiting]) wake()
    },
    /** Resolves when it has rung since `heard`, or the signal aborts. */
    rung(heard: number, signal: AbortSignal): Promise<void> {
      if (count !== heard || signal.aborted) return Promise.resolve()
      return new Promise((resolve) => {
        const done = () => {
          waiting.delete(done)
          signal.removeEventListener('abort', done)
          resolve()
        }
        waiting.add(done)
        signal.addEventListener('abort', done, { once: true })
      })
    },
  }
}
