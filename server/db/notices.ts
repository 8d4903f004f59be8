// Tells listeners what has been committed. NOTIFY takes a lock of the whole database that lasts until its
// transaction is on disk, so that commits with one wait in line; here it gets a transaction of its own, which writes
// nothing. A process that dies in between owes its listeners a hint, and they poll.
import type { Channel } from './listen.ts'
import type { Db, Queryable } from './pool.ts'

export interface Notice {
  channel: Channel
  payload: string
}

export type Notices = ReturnType<typeof createNotices>

export function createNotices(db: Db) {
  let pending = new Map<string, Notice>()
  let sending: Promise<void> | undefined
  let isStopped = false

  async function sendAll(): Promise<void> {
    while (pending.size > 0) {
      const batch = [...pending.values()]
      pending = new Map()
      await db
        .raw(
          `select pg_notify(n.channel, n.payload)
           from unnest(cast(? as text[]), cast(? as text[])) as n (channel, payload)`,
          [batch.map(({ channel }) => channel), batch.map(({ payload }) => payload)],
        )
        .catch(() => {}) // a hint is not worth a second try
    }
    sending = undefined
  }

  return {
    /** Many at once go out as one. */
    send(notice: Notice): void {
      if (isStopped) return
      pending.set(`${notice.channel} ${notice.payload}`, notice)
      sending ??= sendAll()
    },

    /** Resolves when what was to be said is said. */
    async stop(): Promise<void> {
      isStopped = true
      await sending
    },
  }
}

/** Once the transaction, if it is one, is committed. Not for one within another: it is over before its commit. */
export function notify(db: Queryable, channel: Channel, payload: string): void {
  const notices: Notices | undefined = db.userParams.notices
  if (!notices) throw new TypeError(`nobody tells ${channel}: a transaction within a transaction`)
  const committed = 'executionPromise' in db ? db.executionPromise : Promise.resolve()
  committed.then(
    () => notices.send({ channel, payload }),
    () => {}, // rolled back: there is nothing to tell
  )
}
