// Which workers are low on disk, in the database, so that whoever answers for the queue knows.
import { type Db, rows } from '../db/pool.ts'
import { LOW_DISK_STALE_MS } from '../limits.ts'
import { type DiskState, lowDiskReason } from './guard.ts'

export async function recordLowDisk(db: Db, worker: string, state: DiskState): Promise<void> {
  const { freeBytes, neededBytes } = state
  await db('low_disks')
    .insert({
      worker,
      free_bytes: Math.floor(freeBytes),
      needed_bytes: Math.ceil(neededBytes),
      seen_at: db.raw('clock_timestamp()'),
    })
    .onConflict('worker')
    .merge()
}

export async function forgetLowDisk(db: Db, worker: string): Promise<void> {
  await db('low_disks').where({ worker }).delete()
}

/** Undefined when no worker says so. */
export async function whyLowDisk(db: Db): Promise<string | undefined> {
  const [low] = await rows<{ free_bytes: number; needed_bytes: number }>(
    db,
    `select free_bytes, needed_bytes from low_disks
     where seen_at between clock_timestamp() - :stale * interval '1 ms' and clock_timestamp()
     order by free_bytes limit 1`,
    { stale: LOW_DISK_STALE_MS },
  )
  return low && lowDiskReason({ freeBytes: low.free_bytes, neededBytes: low.needed_bytes })
}
