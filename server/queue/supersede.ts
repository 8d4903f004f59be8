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

/** The caller has the lock of the app: of two pushes each might wait for the other's build. */
export async function supersede(
  trx: Knex.Transaction,
  newer: BuildRow,
  which: Supersede,
): Promise<void> {
  if (which === 'off' || newer.pushId === undefined) return
  await cancelLate(trx, newer)
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

/** One that is queued after the build of a push that followed its own is superseded from the start. */
async function cancelLate(trx: Knex.Transaction, { id, appId, ref, pushId }: BuildRow) {
  const [newest] = await rows<{ id: string }>(
    trx,
    `select b.id from builds b
     join pushes p on p.id = b.push_id
     where p.app_id = :appId and p.ref = :ref
       and p.seq > (select seq from pushes where id = :pushId)
     order by p.seq desc
     limit 1`,
    { appId: appId ?? null, ref: ref ?? null, pushId: pushId ?? null },
  )
  if (!newest) return
  const set = { ...endColumns(trx), superseded_by: newest.id }
  await transitionIn(trx, { id, from: ['queued'], to: 'cancelled', set })
}
