// Locks by name, across processes. Each ends with its transaction: also when its holder dies.
import type { Knex } from 'knex'
import { type Db, rows } from './pool.ts'

/** Waits for it; the transaction has it until its end. */
export async function lock(trx: Knex.Transaction, name: string): Promise<void> {
  await trx.raw('select pg_advisory_xact_lock(hashtextextended(?, 0))', [name])
}

/** With others who share it, and not with one who has it alone. */
export async function lockShared(trx: Knex.Transaction, name: string): Promise<void> {
  await trx.raw('select pg_advisory_xact_lock_shared(hashtextextended(?, 0))', [name])
}

/** Waits for the lock, then works under it. */
export function holding<T>(
  db: Db,
  name: string,
  work: (trx: Knex.Transaction) => Promise<T>,
): Promise<T> {
  return db.transaction(async (trx) => {
    await lock(trx, name)
    return work(trx)
  })
}

/** Undefined, without waiting, when somebody has it. */
export function tryHolding<T>(
  db: Db,
  name: string,
  work: () => Promise<T>,
): Promise<T | undefined> {
  return db.transaction(async (trx) => {
    const [row] = await rows<{ got: boolean }>(
      trx,
      'select pg_try_advisory_xact_lock(hashtextextended(?, 0)) as got',
      [name],
    )
    return row?.got ? work() : undefined
  })
}

/** Of those who publish into a repository of the registry, and of those who delete from it. */
export const publishLock = (repo: string) => `publish:${repo}`
