// Apps and pushes as rows, for tests of what follows from their order.
import { createId } from '@paralleldrive/cuid2'
import { createBuildStore, toBuild } from '../../server/builds/store.ts'
import { lockApp } from '../../server/db/lock-order.ts'
import type { Db } from '../../server/db/pool.ts'
import { type Supersede, supersede } from '../../server/queue/supersede.ts'
import { aBuild } from './builds.ts'

export interface PushedApp {
  id: string
  name: string
}

export async function givenPushedApp(db: Db, name = 'web'): Promise<PushedApp> {
  const id = createId()
  await db('apps').insert({ id, tenant: 'acme', name })
  return { id, name }
}

/** A push of a branch and its build, in one transaction, as the intake does it. */
export async function givenPush(
  db: Db,
  { id: app_id, name }: PushedApp,
  {
    ref = 'refs/heads/main',
    which = 'off' as Supersede,
    buildId,
  }: { ref?: string; which?: Supersede; buildId?: string } = {},
) {
  const sha = createId().padEnd(40, '0')
  const moved = { app_id, ref, old_sha: sha, new_sha: sha, pusher: 'ada', source: 'push' }
  const named = buildId === undefined ? {} : { id: buildId }
  const id = await db.transaction(async (trx) => {
    await lockApp(trx, app_id)
    const [{ id: pushId }] = await trx('pushes').insert(moved).returning('id')
    const pushed = aBuild({ ...named, appId: app_id, app: name, pushId, ref })
    const build = await createBuildStore({ db }).insert(trx, pushed)
    await supersede(trx, build, which)
    return build.id
  })
  return toBuild(await db('builds').where({ id }).first())
}
