// Limits are rows: one `slots` row per build that may run at once, for the whole installation.
import type { Db } from '../db/pool.ts'

/** Makes the number of slots match the setting; a slot in use is taken away once it is free. */
export async function setSlots(db: Db, count: number): Promise<void> {
  await db.raw(
    `insert into slots (n)
     select n from generate_series(1, ?) n
     on conflict do nothing`,
    [count],
  )
  await db.raw('delete from slots where n > ? and build_id is null', [count])
}
