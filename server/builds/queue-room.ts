// How many builds of a tenant may wait. The lock orders those who queue for one tenant, so that the limit
// holds exactly; it ends with the transaction (see lock-order.ts).
import type { Knex } from 'knex'
import { lock } from '../db/advisory-lock.ts'
import { type Queryable, rows } from '../db/pool.ts'
import { AppError } from '../errors.ts'
import { QUEUE_FULL_RETRY_SECONDS } from '../limits.ts'

export const lockQueue = (trx: Knex.Transaction, tenant: string) => lock(trx, `queue:${tenant}`)

/** Throws AppError `queue_full`. Certain only under lockQueue(). */
export async function requireRoom(db: Queryable, tenant: string, max: number): Promise<void> {
  const [row] = await rows<{ queued: number }>(
    db,
    `select count(*)::int as queued from builds where tenant = ? and status = 'queued'`,
    [tenant],
  )
  refuseWithoutRoom(tenant, row?.queued ?? 0, max)
}

/** Throws AppError `queue_full`. */
export function refuseWithoutRoom(tenant: string, queued: number, max: number): void {
  if (queued < max) return
  throw new AppError(
    'queue_full',
    `${queued} builds of ${tenant} are queued already, and at most ${max} may be`,
    {
      hint: 'cancel some, or try again when some are done',
      retryAfterSeconds: QUEUE_FULL_RETRY_SECONDS,
    },
  )
}
