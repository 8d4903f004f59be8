// Why queued builds wait although it may be their turn, as the workers tell it in the database.
import { type Db, rows } from '../db/pool.ts'
import { whyLowDisk } from '../disk-guard/low-disks.ts'
import { LEASE_MS } from '../limits.ts'

/** One reason for all builds; undefined: they wait for their turn. */
export async function whyQueueWaits(db: Db): Promise<string | undefined> {
  return (await whyLowDisk(db)) ?? whyNoWorker(db)
}

async function whyNoWorker(db: Db): Promise<string | undefined> {
  const [workers] = await rows<{ present: number; taking: number }>(
    db,
    `select count(*)::int as present,
       (count(*) filter (where drain_requested_at is null))::int as taking
     from workers where last_seen_at > clock_timestamp() - ? * interval '1 ms'`,
    [LEASE_MS],
  )
  if (!workers?.present) return 'no worker is running'
  return workers.taking === 0 ? 'the workers are being drained' : undefined
}
