// Pushes of a ref stand in the order in which they moved it, whenever they are recorded.
import type { Knex } from 'knex'
import { ZERO_OID } from './pkt-line.ts'
import { insertPush, latestPush, type MovedRef, type PushRow, putBefore } from './push-store.ts'
import type { Repositories } from './repositories.ts'

/**
 * Records a push; the caller has the lock of the app. Hooks of two pushes may be heard in the other order: one that
 * finds the ref where the latest known push has put it came before that. `before`: the push that it came before.
 */
export async function addPush(
  trx: Knex.Transaction,
  repositories: Pick<Repositories, 'tip'>,
  moved: MovedRef,
  before?: PushRow,
): Promise<number> {
  const { app, update } = moved
  const { oldSha, newSha, ref } = update
  const latest = await latestPush(trx, app.id, ref)
  const follows = [oldSha, newSha].includes(latest?.newSha ?? ZERO_OID)
  if (before === undefined && follows) return insertPush(trx, moved)
  // Whatever is missing in between will be looked for.
  const pushId = await insertPush(trx, moved, { gap: before === undefined })
  const isLate = before ?? ((await repositories.tip(app.id, ref)) === latest?.newSha && latest)
  if (isLate) await putBefore(trx, isLate)
  return pushId
}
