// A build that nobody has taken for too long fails, by the database's clock: what it was for is most likely over,
// and whoever waits for it should hear so.
import { endColumns, transition } from '../builds/transitions.ts'
import type { Db } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { QUEUE_EXPIRED_BATCH_MAX } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'

/** Returns the ids of the builds that waited too long. */
export async function expireQueued({ db, log }: { db: Db; log: Log }): Promise<string[]> {
  const stale = await rows<{ id: string; hours: number }>(
    db,
    `select id, ttl_hours as hours
     from builds, queue_limits
     where status = 'queued' and ${IS_STALE}
     order by queued_at
     limit ?`,
    [QUEUE_EXPIRED_BATCH_MAX],
  )
  const expired: string[] = []
  for (const { id, hours } of stale) {
    const error = `no worker took the build within ${hours} h (QUEUE_TTL_HOURS); queue it again when builds are run`
    const set = { ...endColumns(db), failure_class: 'infra', error }
    // It may have been handed back to the queue in between, and waits anew then.
    const only = `exists (select 1 from queue_limits where ${IS_STALE})`
    if (await transition(db, { id, from: ['queued'], to: 'failed', only, set })) expired.push(id)
  }
  if (expired.length > 0) log.warn({ builds: expired }, 'builds waited too long in the queue')
  return expired
}

const IS_STALE = `queued_at < clock_timestamp() - ttl_hours * interval '1 hour'`
