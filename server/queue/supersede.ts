// The latest push of a ref wins, where its app says so: older builds of that ref are cancelled in the transaction
// that queues the newer one. Only builds that a push has made count, on both sides: what was asked for by name is
// never thrown away, and of two refs none supersedes the other.
import type { Knex } from 'knex'
import type { BuildRow } from '../builds/store.ts'
import { endColumns, transitionIn } from '../builds/transitions.ts'
import { notify } from '../db/notices.ts'
import { rows } from '../db/pool.ts'

/** Which older builds a push cancels: those that wait, also those that run, or none. */
export type Supersede = 'queued' | 'running' | 'off'

export async function supersede(
  trx: Knex.Transaction,
  newer: BuildRow,
  which: Supersede,
): Promise<void> {
  if (which === 'off' || newer.pushId === undefined) return
  const older = await rows<{ id: string; status: string }>(
    trx,
    `select b.id, b.status
     from builds b
     join pushes p on p.id = b.push_id
     where b.app_id = :appId and b.ref = :ref
       and p.seq < (select seq from pushes where id = :pushId)
       and b.status in ('queued', 'building', 'pushing')
       and b.result_at is null and b.cancel_requested_at is null
     order by b.id
     for no key update of b`,
    { appId: newer.appId ?? null, ref: newer.ref ?? null, pushId: newer.pushId },
  )
  for (const { id, status } of older) {
    const asked = {
      cancel_requested_at: trx.raw('clock_timestamp()'),
      superseded_by: newer.id,
    }
    if (status === 'queued') {
      const set = { ...endColumns(trx), ...asked }
      await transitionIn(trx, { id, from: ['queued'], to: 'cancelled', set })
    } else if (which === 'running') {
      await trx('builds').where({ id }).update(asked)
      notify(trx, 'hypeman_build', `cancel:${id}`)
    }
  }
}
