// A whole server in a process of its own whose only slot is taken, so that its worker leaves all builds to the
// bench: the bench is the worker in another process, over the same PostgreSQL.
import { randomUUID } from 'node:crypto'
import { createId } from '@paralleldrive/cuid2'
import { pino } from 'pino'
import { appendEvents } from '../../server/builds/event-store.ts'
import { createBuildStore, toBuild } from '../../server/builds/store.ts'
import { embeddedUrl } from '../../server/db/embedded.ts'
import { createListener, type Listener } from '../../server/db/listen.ts'
import { createDb, type Db } from '../../server/db/pool.ts'
import { pathsFor } from '../../server/paths.ts'
import type { ClaimedBuild } from '../../server/queue/claim.ts'
import { launchServer, type ServerProcess } from '../helpers/server-process.ts'

/** Of the parts that run in the bench itself. */
export const silent = pino({ level: 'silent' })

export interface BusyServer {
  process: ServerProcess
  db: Db
  listener: Listener
  token: string
  /** A build that the bench holds the lease of. */
  running(): Promise<ClaimedBuild>
  stop(): Promise<void>
}

export async function startBusyServer(): Promise<BusyServer> {
  const process = await launchServer({ MAX_CONCURRENT_SOURCE_BUILDS: '1', LOG_LEVEL: 'warn' })
  const url = embeddedUrl(pathsFor(process.dataDir).databaseSocket)
  const db = createDb(url)
  const listener = createListener({ url, log: silent })
  await listener.start()
  const { id } = await running(db)
  await db('slots').update({ build_id: id })
  return {
    process,
    db,
    listener,
    token: await process.token('bench', { tenant: 'bench' }),
    running: () => running(db),
    async stop() {
      await listener.stop()
      await db.destroy()
      await process.remove()
    },
  }
}

/** Never queued as far as others can see, so that nobody else claims it. */
function running(db: Db): Promise<ClaimedBuild> {
  return db.transaction(async (trx) => {
    const { id } = await createBuildStore({ db }).insert(trx, {
      id: createId(),
      tenant: 'bench',
      pusher: 'bench',
      request: {},
      sourceKey: 'sources/none',
      sourceHash: `sha256:${'0'.repeat(64)}`,
      sourceBytes: 0,
    })
    const leaseToken = randomUUID()
    const now = trx.raw('clock_timestamp()')
    const [row] = await trx('builds')
      .where({ id })
      .update({
        status: 'building',
        attempt: 1,
        lease_token: leaseToken,
        lease_until: 'infinity',
        worker: 'bench',
        started_at: now,
        claimed_at: now,
      })
      .returning('*')
    await appendEvents(trx, id, [{ type: 'status', status: 'building' }])
    return { ...toBuild(row), leaseToken }
  })
}
