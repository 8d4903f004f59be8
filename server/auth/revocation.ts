// Revoked tokens are rows, forgotten some days after the token would have expired anyway. Looked up with a short cache,
// so that a revocation counts within seconds and a busy token costs no query per request.
import type { Db } from '../db/pool.ts'
import { DATABASE_ANSWER_DEADLINE_MS, REVOKED_KEEP_DAYS } from '../limits.ts'

const CACHE_MS = 5_000
const CACHE_ENTRIES_MAX = 10_000

export type Revocation = ReturnType<typeof createRevocation>

export interface RevocationOptions {
  db: Db
  deadlineMs?: number
}

export function createRevocation({
  db,
  deadlineMs = DATABASE_ANSWER_DEADLINE_MS,
}: RevocationOptions) {
  const cache = new Map<string, { revoked: boolean; until: number }>()
  return {
    async isRevoked(jti: string): Promise<boolean> {
      const known = cache.get(jti)
      if (known && known.until > performance.now()) return known.revoked
      const row = await db('revoked_tokens').where({ jti }).first('jti').timeout(deadlineMs)
      if (cache.size >= CACHE_ENTRIES_MAX) cache.clear()
      cache.set(jti, { revoked: row !== undefined, until: performance.now() + CACHE_MS })
      return row !== undefined
    },

    /** `expiresAt` is the token's own; `infinity` when only its id is known. */
    async revoke(jti: string, expiresAt: Date | 'infinity'): Promise<void> {
      await db('revoked_tokens').insert({ jti, expires_at: expiresAt }).onConflict('jti').ignore()
      await db('revoked_tokens')
        .whereRaw(`expires_at < clock_timestamp() - ? * interval '1 day'`, [REVOKED_KEEP_DAYS])
        .delete()
      cache.delete(jti)
    },
  }
}
