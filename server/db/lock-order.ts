// The order in which transactions lock, in one place: two that keep it never wait for each other in a circle.
//
//   1. locks by name of the registry's repositories (publish:…)
//   2. the row of the app: lockApp(), or KEY SHARE of who only needs it to stay
//   3. the row of a builder that is named, made or removed
//   4. locks by name of the queue of a tenant, then of a source
//   5. rows of builds; several in the order of their ids
//   6. what hangs on a build: its attempt, the builder and the slot that it gives back, the image of its branch
//   7. the row of its tenant in queue_tenants: by triggers at the commit, so it is the last
//
// The claim goes from 7 to 3, and therefore waits for none of the rows it meets on that way: it skips them.
//
// PostgreSQL locks by itself, too: a row that is inserted, and one that is changed a second time in the same
// transaction, has its foreign keys looked at, and each row they name gets KEY SHARE. FOR UPDATE would be in the way
// of that, at any place of the order: it is for rows that are about to be deleted. Whoever only changes a row, or has
// it as a lock, takes it FOR NO KEY UPDATE; and a build is changed once in a transaction where that can be.
import type { Knex } from 'knex'

/** Nobody else records anything for the app before the transaction ends. False: there is no such app. */
export async function lockApp(trx: Knex.Transaction, id: string): Promise<boolean> {
  return (await trx('apps').where({ id }).forNoKeyUpdate().first('id')) !== undefined
}
