// The attempts at a build, in the order in which they were claimed. The database writes them (migration 0020); only
// how one ended that nobody ended is said here.
import type { Queryable } from '../db/pool.ts'
import type { BuildAttempt } from './schema.ts'

export async function readAttempts(db: Queryable, buildId: string): Promise<BuildAttempt[]> {
  const found = await db('attempts').where({ build_id: buildId }).orderBy('id')
  return found.map((row) => ({
    attempt: row.attempt,
    worker: row.worker,
    claimed_at: row.claimed_at.toISOString(),
    ...(row.ended_at ? { ended_at: row.ended_at.toISOString(), outcome: row.outcome } : {}),
  }))
}

/** Of a build whose worker is gone; written before its lease is taken. */
export async function loseAttempt(db: Queryable, buildId: string): Promise<void> {
  await db('attempts')
    .where({ build_id: buildId, ended_at: null })
    .update({ ended_at: db.raw('clock_timestamp()'), outcome: 'lost' })
}
