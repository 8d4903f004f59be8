// What the queue holds, and what its counters say of that.
import { type Db, rows } from '../../../server/db/pool.ts'

export interface BranchFact {
  app_id: string
  ref: string
  build_id: string
  published_at: Date | null
}

export interface TenantCount {
  tenant: string
  queued: number
  running: number
  really_queued: number
  really_running: number
}

export interface HeldQueue {
  /** Builds that hold a slot. */
  inSlots: string[]
  /** Builders that somebody holds, and the build. */
  heldBuilders: { key: string; build: string | null }[]
  tenants: TenantCount[]
}

export const branchesOf = (db: Db): Promise<BranchFact[]> =>
  rows<BranchFact>(db, 'select app_id, ref, build_id, published_at from branch_images')

export async function heldQueue(db: Db): Promise<HeldQueue> {
  return {
    inSlots: await db('slots').whereNotNull('build_id').pluck('build_id'),
    heldBuilders: await db('builders')
      .whereNotNull('lease_token')
      .select('key', 'active_build_id as build'),
    tenants: await rows<TenantCount>(
      db,
      `select t.tenant, queued, running,
         (select count(*)::int from builds b where b.tenant = t.tenant and status = 'queued') as really_queued,
         (select count(*)::int from slots s where s.tenant = t.tenant) as really_running
       from queue_tenants t`,
    ),
  }
}
