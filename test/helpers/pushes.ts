// Apps and pushes as rows, for tests of what follows from their order.
import { createId } from '@paralleldrive/cuid2'
import { toBuild } from '../../server/builds/store.ts'
import type { Db } from '../../server/db/pool.ts'
import { type Supersede, supersede } from '../../server/queue/supersede.ts'
import { givenBuild } from './builds.ts'

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
  const [{ id: pushId }] = await db('pushes').insert(moved).returning('id')
  const named = buildId === undefined ? {} : { id: buildId }
  const build = await givenBuild(db, { ...named, appId: app_id, app: name, pushId, ref })
  await db.transaction((trx) => supersede(trx, build, which))
  return toBuild(await db('builds').where({ id: build.id }).first())
}
