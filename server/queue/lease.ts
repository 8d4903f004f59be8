// What the holder of a lease may write. Every statement carries the token: after the lease is lost
// (reaper, cancel, drain) each of them changes nothing and says so.
import type { FetchedSource } from '../../agent/protocol.ts'
import {
  appendConnections,
  countConnections,
  promiseConnections,
} from '../builds/connection-store.ts'
import type { ConnectionEvent } from '../builds/connections.ts'
import { appendEvents, type NewEvent } from '../builds/event-store.ts'
import type { Provenance } from '../builds/schema.ts'
import type { ShownConfig } from '../builds/shown-config.ts'
import { endColumns, type Failure, transition, transitionIn } from '../builds/transitions.ts'
import { notify } from '../db/notices.ts'
import type { Db } from '../db/pool.ts'
import { HEARTBEAT_MS, LEASE_MS } from '../limits.ts'
import { markComplete } from './slots.ts'

const HANDED_BACK = 'The worker of this build stops: queued again, to be built from the start'

export type Lease = ReturnType<typeof createLease>

export interface Beat {
  held: boolean
  cancelRequested: boolean
}

export function createLease({ db, buildId, token }: { db: Db; buildId: string; token: string }) {
  const isHeld = { id: buildId, lease_token: token }

  return {
    buildId,

    /** Extends the lease by the database's clock and learns whether a cancel was asked for. */
    async heartbeat(): Promise<Beat> {
      const { rows } = await db
        .raw<{ rows: { cancel: boolean }[] }>(
          `update builds
           set lease_until = clock_timestamp() + ? * interval '1 ms'
           where id = ? and lease_token = ? and status in ('building', 'pushing') and result_at is null
           returning cancel_requested_at is not null as cancel`,
          [LEASE_MS, buildId, token],
        )
        .timeout(HEARTBEAT_MS)
      const [row] = rows
      return { held: row !== undefined, cancelRequested: row?.cancel ?? false }
    },

    /** A batch of a given id is appended once, however often it is tried. */
    append: (events: readonly NewEvent[], batch?: string): Promise<boolean> =>
      appendEvents(db, buildId, events, { token, batch }),

    /** Connections of the attempt, numbered behind the given one. */
    appendConnections: (
      attempt: number,
      after: number,
      events: readonly ConnectionEvent[],
    ): Promise<boolean> => appendConnections(db, { buildId, attempt, after, events }, { token }),

    countConnections: (): Promise<number> => countConnections(db, buildId),

    /** How many events of connections there must be; returns how many there are. */
    promiseConnections: (events: number): Promise<number | undefined> =>
      promiseConnections(db, { buildId, events }, { token }),

    /** What the attempt's pod is given, as it may be shown. */
    async recordConfig(config: ShownConfig): Promise<void> {
      await db('builds')
        .where(isHeld)
        .update({ config: JSON.stringify(config) })
    },

    /** What the agent has fetched. */
    async recordSource({ commit, ref, hash }: FetchedSource): Promise<void> {
      const named = ref === undefined ? {} : { ref }
      await db('builds')
        .where(isHeld)
        .update({ commit, source_hash: hash, ...named })
    },

    /** The agent has answered: the machine part of the wait is over. */
    async markHello(): Promise<void> {
      await db('builds')
        .where(isHeld)
        .update({ hello_at: db.raw('clock_timestamp()') })
    },

    async markPushing(): Promise<boolean> {
      const set = { pushing_at: db.raw('clock_timestamp()') }
      const moved = { id: buildId, from: ['building'] as const, to: 'pushing' as const }
      return (await transition(db, { ...moved, set, leaseToken: token })) !== undefined
    },

    /** The image is in the registry: frees the slot; the server side makes the tags and sets `ready`. */
    async recordResult(digest: string, provenance: Provenance): Promise<boolean> {
      return db.transaction(async (trx) => {
        const recorded = await trx('builds')
          .where(isHeld)
          .where({ status: 'pushing' })
          .whereNull('cancel_requested_at')
          .update({
            image_digest: digest,
            provenance: JSON.stringify(provenance),
            result_at: trx.raw('clock_timestamp()'),
            lease_token: null,
            lease_until: null,
          })
        if (recorded === 0) return false
        await markComplete(trx, buildId)
        notify(trx, 'hypeman_result', buildId)
        return true
      })
    },

    async fail(failure: Failure, provenance?: Provenance): Promise<boolean> {
      const moved = await transition(db, {
        id: buildId,
        from: ['building', 'pushing'],
        to: 'failed',
        leaseToken: token,
        set: {
          ...endColumns(db),
          failure_class: failure.failureClass,
          error: failure.error,
          ...(provenance ? { provenance: JSON.stringify(provenance) } : {}),
        },
      })
      return moved !== undefined
    },

    /** The cancel that was asked for is done: the pod is gone. */
    async cancelled(): Promise<boolean> {
      const moved = await transition(db, {
        id: buildId,
        from: ['building', 'pushing'],
        to: 'cancelled',
        leaseToken: token,
        set: endColumns(db),
      })
      return moved !== undefined
    },

    /** Back to the queue for another attempt, because of what the line says; this one counts. */
    requeue: (line: string) => backToQueue({}, [{ type: 'log', line }]),

    /** Hands the build back to the queue on shutdown; the attempt does not count. */
    handBack: () =>
      backToQueue({ attempt: db.raw('attempt - 1') }, [{ type: 'log', line: HANDED_BACK }]),
  }

  /** A build whose cancel was asked for does not wait again: it is cancelled. */
  async function backToQueue(set: Record<string, unknown>, events: NewEvent[]): Promise<boolean> {
    const from = ['building', 'pushing'] as const
    return db.transaction(async (trx) => {
      const held = { id: buildId, from, leaseToken: token, events }
      const cancelled = await transitionIn(trx, {
        ...held,
        to: 'cancelled',
        only: 'cancel_requested_at is not null',
        set: endColumns(trx),
      })
      if (cancelled) return true
      const released = { lease_token: null, lease_until: null, ...set }
      return (await transitionIn(trx, { ...held, to: 'queued', set: released })) !== undefined
    })
  }
}
