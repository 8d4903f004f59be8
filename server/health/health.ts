// Is the server able to do its work? Asked by load balancers and by people, so it never waits long.
import type { Db } from '../db/pool.ts'
import type { SchemaWatch } from '../db/schema-watch.ts'
import { type DiskGuard, lowDiskReason } from '../disk-guard/guard.ts'
import { asError } from '../errors.ts'
import { inTime } from '../in-time.ts'
import { HEALTH_DEADLINE_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'

export type Health = ReturnType<typeof createHealth>

export interface Down {
  code: 'database_unavailable' | 'version_skew'
  message: string
}

export interface HealthOptions {
  db: Db
  log: Log
  /** Of the server's own disk. */
  disk: Pick<DiskGuard, 'look'>
  schema: Pick<SchemaWatch, 'skew'>
}

export function createHealth({ db, log, disk, schema }: HealthOptions) {
  return {
    /** What is not as it should be, although requests are served; empty when all is well. */
    async degraded(): Promise<string[]> {
      const state = await disk.look()
      return state.isLow ? [`${lowDiskReason(state)}; builds wait`] : []
    },

    /** Why requests are not served; undefined when they are. */
    async down(): Promise<Down | undefined> {
      const skew = schema.skew()
      if (skew !== undefined) return { code: 'version_skew', message: skew }
      try {
        if (await inTime(db.raw('select 1'), HEALTH_DEADLINE_MS)) return undefined
        throw new Error(`no answer within ${HEALTH_DEADLINE_MS} ms`)
      } catch (error) {
        log.warn({ err: asError(error).message }, 'database does not answer')
        return { code: 'database_unavailable', message: 'does not answer: database' }
      }
    },
  }
}
