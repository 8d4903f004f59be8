// The index of referrers: a row per manifest that was pushed through the proxy with a `subject`.
import type { Db } from '../db/pool.ts'
import type { Referrer, ReferrerDescriptor } from './referrer.ts'

export interface ReferrerQuery {
  repo: string
  subject: string
  artifactType: string | undefined
  /** Digest of the last one already known. */
  after: string | undefined
  limit: number
}

export type ReferrerStore = ReturnType<typeof createReferrerStore>

export function createReferrerStore({ db }: { db: Db }) {
  return {
    /** Again is the same, only younger. */
    async record(repo: string, { subject, descriptor }: Referrer): Promise<void> {
      const { digest, artifactType = null } = descriptor
      await db('referrers')
        .insert({
          repo,
          subject,
          digest,
          artifact_type: artifactType,
          descriptor: JSON.stringify(descriptor),
          created_at: db.raw('clock_timestamp()'),
        })
        .onConflict(['repo', 'subject', 'digest'])
        .merge(['created_at'])
    },

    /** In the order of their digests. */
    async list(query: ReferrerQuery): Promise<ReferrerDescriptor[]> {
      const { repo, subject, artifactType, after, limit } = query
      const select = db('referrers').where({ repo, subject }).orderBy('digest').limit(limit)
      if (artifactType !== undefined) select.where({ artifact_type: artifactType })
      if (after !== undefined) select.where('digest', '>', after)
      return select.pluck('descriptor')
    },

    /** For manifests that are gone; young rows stay, as one may have come back meanwhile. */
    async forget(repo: string, digests: readonly string[]): Promise<void> {
      if (digests.length === 0) return
      await db('referrers')
        .where({ repo })
        .whereIn('digest', digests)
        .whereRaw(`created_at < clock_timestamp() - interval '1 minute'`)
        .delete()
    },
  }
}
